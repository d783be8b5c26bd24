"""A training script as researchers write it, killed in the same way, for contrast."""

import csv
import itertools
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import torch
from killing import Account, end, start, timed
from small import small_spec

from ncdiag.training.datasets import load_dataset


def ordinary_script(folder: Path, epochs: int) -> None:
    """Train as many scripts do: a row of CSV and `torch.save` in place after each epoch, and on from there."""
    torch.manual_seed(0)
    data = load_dataset(small_spec().data, arch="mlp", data_dir=None, path=None)
    inputs, labels = data.train_inputs(slice(None)).flatten(1), data.train_labels
    model = torch.nn.Sequential(torch.nn.Linear(inputs.shape[1], 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    first = 1
    checkpoint, log = folder / "checkpoint.pt", folder / "log.csv"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1
    for epoch in range(first, epochs + 1):
        for batch in torch.randperm(len(labels)).split(32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        with log.open("a", newline="") as file:
            csv.writer(file).writerow([epoch, loss.item()])
        torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)


def kill_ordinary(folder: Path, kills: int, draw: random.Random) -> Account:
    """Do the same to an ordinary script, and count in the same way."""
    account = Account()
    load_dataset(small_spec().data, arch="mlp", data_dir=None, path=None)
    whole = folder / "whole"
    whole.mkdir()
    seconds = timed(partial(ordinary_script, whole, 40))
    final = torch.load(whole / "checkpoint.pt", weights_only=True)["model"]
    for number in itertools.count():
        if account.kills >= kills:
            return account
        place = folder / str(number)
        place.mkdir()
        for _ in range(3):
            child = start(partial(ordinary_script, place, 40))
            time.sleep(draw.uniform(0, 0.6 * seconds))
            account.acknowledged += len((place / "log.csv").read_text().split()) if (place / "log.csv").exists() else 0
            os.killpg(child, signal.SIGKILL)
            code = end(child)
            account.kills += code == -signal.SIGKILL
            if code == 1:
                break
        if end(start(partial(ordinary_script, place, 40))):
            account.unreadable += 1
            continue
        account.finished += 1
        epochs = [line.split(",")[0] for line in (place / "log.csv").read_text().splitlines()]
        account.duplicated += len(epochs) - len(set(epochs))
        account.lost += 40 - len(set(epochs))
        ours = torch.load(place / "checkpoint.pt", weights_only=True)["model"]
        account.different += any(not torch.equal(ours[name], final[name]) for name in final)
    return account
