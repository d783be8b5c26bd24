"""The usual research script, written plainly: what ncdiag is compared to.

A DataLoader that opens every image and turns it into a tensor, a training loop that asks for the loss at every step,
and after each epoch two more passes over the training set: one for the class means, one for the within-class
covariance, d x d, from which the metrics are computed as they are written down in the papers.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

Arrays = tuple[np.ndarray, np.ndarray]  # uint8 [N, H, W] and labels


class Images(Dataset[tuple[Tensor, int]]):
    """What torchvision.datasets.MNIST gives: an image opened and transformed when it is asked for."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = images
        self.labels = labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(Image.fromarray(self.images[index]))
        return image, int(self.labels[index])


class MLP(nn.Module):
    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in [784] + [width] * (depth - 1):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = nn.functional.relu(self.bn1(self.conv1(x)))
        return nn.functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
            layers += [
                Block(inputs, outputs, outputs // inputs),
                Block(outputs, outputs, 1),
                Block(outputs, outputs, 1),
            ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class Script:
    """One run of the script: `train_epoch`, `measure` and `test`."""

    def __init__(self, train: Arrays, test: Arrays, *, model: MLP | ResNet20, batch_size: int) -> None:
        torch.manual_seed(0)
        self.dataset = Images(*train)
        self.loader = DataLoader(self.dataset, batch_size=batch_size, shuffle=True)
        self.test_images = Images(*test)
        self.test_loader = DataLoader(self.test_images, batch_size=batch_size)
        self.model = model
        self.optimizer: torch.optim.Optimizer
        if isinstance(model, MLP):
            self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
        else:
            self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def train_epoch(self) -> None:
        self.model.train()
        total = 0.0
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        self.loss = total / len(self.loader)

    @torch.no_grad()
    def measure(self) -> None:
        self.model.eval()
        width = self.model.head.in_features
        sums, counts, norm, correct = torch.zeros(10, width), torch.zeros(10), 0.0, 0
        for x, y in self.loader:
            h = self.model.body(x)
            for c in range(10):
                sums[c] += h[y == c].sum(0)
                counts[c] += (y == c).sum()
            norm += h.norm(dim=1).sum().item()
            correct += (self.model.head(h).argmax(1) == y).sum().item()
        means = sums / counts[:, None]
        within, matched = torch.zeros(width, width), 0
        for x, y in self.loader:
            h = self.model.body(x)
            z = h - means[y]
            within += z.T @ z
            matched += (torch.cdist(h, means).argmin(1) == self.model.head(h).argmax(1)).sum().item()
        samples = len(self.dataset)
        within /= samples
        centred = means - sums.sum(0) / samples
        between = centred.T @ centred / 10
        cosines = nn.functional.cosine_similarity(centred[:, None], centred[None], dim=2)
        off = cosines[~torch.eye(10, dtype=torch.bool)]
        self.metrics = {
            "accuracy": correct / samples,
            "feature_norm": norm / samples,
            "nc1": (torch.trace(within) / torch.trace(between)).item(),
            "nc1_pinv": torch.trace(within @ torch.linalg.pinv(between)).item() / 10,
            "nc2_equiangular": (off + 1 / 9).abs().mean().item(),
            "nc3": 1 - nn.functional.cosine_similarity(self.model.head.weight, centred).mean().item(),
            "nc4": 1 - matched / samples,
        }

    @torch.no_grad()
    def test(self) -> None:
        self.model.eval()
        correct = 0
        for x, y in self.test_loader:
            correct += (self.model(x).argmax(1) == y).sum().item()
        self.test_accuracy = correct / len(self.test_images)
