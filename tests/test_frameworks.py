"""The recipes of docs/own-network.md in the frameworks that they are for, where these are installed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from clihelp import ROOT
from own_model import Model, X, Y, loader
from reference import reference_metrics
from torch import Tensor, nn

from ncdiag.domain.records import EpochRecord
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.runs import get_run

# Of frameworks that are not ours: they warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")


def run_recipe(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
    page = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
    (script,) = re.findall(rf"<!-- the recipe for {name} -->\n```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(folder)
    exec(compile("import ncdiag\n" + script, name, "exec"), given)


def tracked(folder: Path, name: str) -> list[EpochRecord]:
    with open_store(str(folder / "ncdiag.db")) as store:
        run = get_run(store, name)
        assert run.status == "done"
        return list_epochs(store, run.id)


def assert_agrees(record: EpochRecord, features: Tensor, labels: Tensor, head: nn.Linear) -> None:
    expected = reference_metrics(
        features.numpy(), labels.numpy(), head.out_features, head.weight.detach().numpy(), head.bias.detach().numpy()
    )
    assert {name: record.values()[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Model()
            self.fc = self.net.classifier

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    run_recipe("Lightning", tmp_path, monkeypatch, epochs=2, module=module, train=loader(shuffle=True))
    rows = tracked(tmp_path, "lit-0")
    module.cpu().eval()
    with torch.no_grad():
        features = module.net.body(X) * module.net.scale
    assert [row.epoch for row in rows] == [1, 2]
    assert_agrees(rows[-1], features, Y, module.fc)


@pytest.mark.parametrize("bf16", [False, True])
def test_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="Hugging Face's transformers is not installed")
    pytest.importorskip("accelerate", reason="Hugging Face's accelerate is not installed")
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    config = transformers.ViTConfig(**shape, image_size=6, patch_size=3, num_channels=1, num_labels=3)
    model = transformers.ViTForImageClassification(config)
    train_set = [{"pixel_values": x, "label": int(y)} for x, y in zip(X, Y, strict=True)]
    args = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=2, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=bf16
    )
    run_recipe("Hugging Face", tmp_path, monkeypatch, model=model, args=args, train_set=train_set)
    rows = tracked(tmp_path, "bert-0")
    exact = transformers.ViTForImageClassification(config).eval()  # whose forward pass no Trainer has changed
    exact.load_state_dict(model.state_dict())
    with torch.no_grad():
        features = exact.vit(X).last_hidden_state[:, 0]
    assert [row.epoch for row in rows] == [1, 2]
    assert_agrees(rows[-1], features, Y, exact.classifier)
