"""Kill ncdiag without warning, again and again, and count what was lost: nothing, if it keeps its promises.

    PYTHONPATH=tests python tests/faults/trials.py training --kills 100

Every trial is a process of its own, forked from this one, which has loaded torch and the data but never computes. It
works on a small store and gets SIGKILL at a random moment, or before the n-th thing that it does to the disk. Just
before, the epochs that anybody can see in the store are read: these are acknowledged, and have to be there afterwards.
Then the work is begun again, as a user would, until it is done; its rows and the SHA-256 of its weights have to be
those of an undisturbed run. `ordinary` does the same to a script as researchers write it, for contrast.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from killing import (
    Account,
    Work,
    contents,
    counting,
    done,
    dying_at,
    end,
    revision,
    rows_in,
    start,
    status_in,
    stoppable,
    timed,
    weights_of,
)
from ordinary import kill_ordinary
from small import SMALL_OPTIONS, ignore, small_spec

from ncdiag.cli.app import run as run_ncdiag
from ncdiag.domain.spec import Intervention, PhaseSpec, RunSpec
from ncdiag.execution.worker import TrainingOptions, train_run
from ncdiag.store import migrate, schema
from ncdiag.store.engine import open_store
from ncdiag.store.runs import add_run
from ncdiag.training.datasets import load_dataset


def moments(draw: random.Random, seconds: float) -> Iterator[float]:
    """Give random times within the seconds that undisturbed work takes."""
    while True:
        yield draw.triangular(0, seconds, 0.8 * seconds)  # the start, which stores nothing, takes a good part


def kill_until_done(
    account: Account, store: Path, work: Work, times: Iterator[float], *, kills: int, reference: Path
) -> None:
    """Begin some work again and again, kill it each time after a moment, then let it end, and compare."""
    for _ in range(kills):
        child = start(work)
        deadline = time.monotonic() + next(times)
        while time.monotonic() < deadline and not done(child):
            time.sleep(0.001)
        judge_kill(account, store, child)
    finish(account, store, work, reference)


def judge_kill(account: Account, store: Path, child: int) -> None:
    """Kill a process with all that it started, and see that what was visible before is there afterwards."""
    before = rows_in(store)
    os.killpg(child, signal.SIGKILL)
    if end(child) == -signal.SIGKILL:
        account.kills += 1
    after = rows_in(store)
    account.acknowledged += len(before)
    account.lost += len(set(before) - set(after))
    account.duplicated += len(after) - len({row[:2] for row in after})
    if store.exists():
        with closing(sqlite3.connect(store)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                account.problems.append(f"{store} is damaged")


def finish(account: Account, store: Path, work: Work, reference: Path) -> None:
    """Let the work come to its end, and compare it to that of an undisturbed process, bit by bit."""
    if code := end(start(work)):
        account.problems.append(f"the last process ended with {code}")
        return
    account.finished += 1
    if rows_in(store) != rows_in(reference):
        account.different += 1
        account.problems.append(f"rows of {store} differ from the undisturbed ones")
    elif weights_of(store) != weights_of(reference):
        account.different += 1
        account.problems.append(f"weights of {store} differ from the undisturbed ones")


def stop_training(folder: Path, stops: int, draw: random.Random) -> Account:
    """Ask runs to stop at random moments, by Ctrl-C or SIGTERM: each is interrupted, and nothing is said of it."""
    account = Account()
    spec = small_spec(phases=(PhaseSpec.parse("ce:30"), PhaseSpec.parse("mse:30")))
    load_dataset(spec.data, arch="mlp", data_dir=None, path=None)
    reference = folder / "whole.db"
    seconds = timed(partial(train, reference, spec, 7))
    while account.kills < stops:
        store, said = folder / f"{account.finished}.db", folder / "said"
        work = partial(train, store, spec, 7)
        child = start(partial(stoppable, work, said))
        while status_in(store) in (None, "pending") and not done(child):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.5 * seconds))
        before = rows_in(store)
        number = draw.choice((signal.SIGINT, signal.SIGTERM))
        os.kill(child, number)
        ended = end(child), status_in(store), said.read_text()
        account.kills += ended[0] != 0  # else it was over before it was asked
        asked = 128 + number
        if ended not in ((asked, "interrupted", ""), (asked, "done", ""), (0, "done", "")):  # done: in its last moment
            account.problems.append(f"asked to stop by {number.name}, a run ended so: {ended}")
        account.acknowledged += len(before)
        account.lost += len(set(before) - set(rows_in(store)))
        finish(account, store, work, reference)
        shutil.rmtree(f"{store}.runs")
        store.unlink()
    return account


OPTIMIZERS = tuple(itertools.product(("adam", "adamw", "sgd"), ("cosine", "multistep", "constant")))


def training_specs(epochs: int) -> list[RunSpec]:
    """Give a run for every optimiser and schedule, all across a switch of the loss, every other one rescaled."""
    specs = []
    for number, (optimizer, schedule) in enumerate(OPTIMIZERS):
        drop = f"@{epochs // 2}" if schedule == "multistep" else ""
        phases = (PhaseSpec.parse(f"ce:{epochs}{drop}"), PhaseSpec.parse(f"mse:{epochs}{drop}"))
        rescaled = {"scale_features": Intervention.parse(f"0.5@{epochs + 2}")} if number % 2 else {}
        specs.append(small_spec(optimizer=optimizer, schedule=schedule, phases=phases, lr=1e-3, **rescaled))
    return specs


def train(store: Path, spec: RunSpec, every: int) -> None:
    """Train one run, or go on with it; the whole of what `ncdiag train` does once its options are read."""
    with open_store(str(store), write=True) as opened:
        run, _ = add_run(opened, spec)
        train_run(opened, run, TrainingOptions(device="cpu", checkpoint_every=every), ignore)


def kill_training(folder: Path, kills: int, draw: random.Random) -> Account:
    """Kill runs of every optimiser and schedule at random moments, up to three times each, and then the next."""
    account = Account()
    specs = training_specs(10)
    load_dataset(specs[0].data, arch="mlp", data_dir=None, path=None)  # every process after this one has it
    seconds: list[float] = []
    number = -1
    while account.kills < kills or not account.acknowledged:
        number += 1
        which = number % len(specs)
        reference, store = folder / f"{which}-whole.db", folder / f"{number}.db"
        if number == which:
            seconds.append(timed(partial(train, reference, specs[which], 5)))
        work = partial(train, store, specs[which], draw.choice((1, 3, 7)))
        kill_until_done(account, store, work, moments(draw, 0.6 * seconds[which]), kills=3, reference=reference)
    return account


def kill_at_every_step(folder: Path, step: int) -> Account:
    """Kill a run before the first, the `step`-th after it, ... thing that it does to the disk or says to the store."""
    account = Account()
    spec = small_spec(
        phases=(PhaseSpec.parse("ce:2"), PhaseSpec.parse("mse:2")), scale_features=Intervention.parse("0.5@2")
    )
    load_dataset(spec.data, arch="mlp", data_dir=None, path=None)
    reference = folder / "whole.db"
    counted = folder / "steps"
    if end(start(partial(counting, partial(train, reference, spec, 1), counted))):
        raise SystemExit("the undisturbed run failed")
    for number in range(0, int(counted.read_text()), step):
        store = folder / f"{number}.db"
        work = partial(train, store, spec, 1)
        child = start(partial(dying_at, number, work))
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        judge_kill(account, store, child)
        finish(account, store, work, reference)
        shutil.rmtree(f"{store}.runs")
        store.unlink()
    return account


SWEEP = [*SMALL_OPTIONS[:6], "--phase", "ce:4", "--phase", "mse:4", "--device", "cpu", "--checkpoint-every", "3"]


def sweep(store: Path, jobs: int) -> None:
    """Type `ncdiag sweep`, four points."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    arguments = ["sweep", *SWEEP, "--seed", "0:2", "--weight-decay", "0,1e-3", "--jobs", str(jobs)]
    if code := run_ncdiag([*arguments, "--store", str(store)]):
        raise SystemExit(code)


def kill_sweep(folder: Path, kills: int, draw: random.Random, jobs: int = 1) -> Account:
    """Kill a sweep, the whole process group, at random moments, and type it again."""
    account = Account()
    load_dataset(small_spec().data, arch="mlp", data_dir=None, path=None)
    reference = folder / "whole.db"
    seconds = timed(partial(sweep, reference, jobs))
    for number in itertools.count():
        if account.kills >= kills and account.acknowledged:
            return account
        store = folder / f"{number}.db"
        work = partial(sweep, store, jobs)
        times = moments(draw, seconds)
        kill_until_done(account, store, work, times, kills=draw.randint(1, 5), reference=reference)
        with closing(sqlite3.connect(store)) as connection:
            stands = connection.execute("SELECT status, epochs_done, count(*) FROM runs GROUP BY 1, 2").fetchall()
        if stands != [("done", 8, 4)]:
            account.problems.append(f"{store}: points stand at {stands}")
    return account


NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{head}"


def upgrade():
    made = op.get_bind().execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'view'")).all()
    for name, _ in made:
        op.execute(f"DROP VIEW {{name}}")
    kept = {{"sqlite_autoincrement": True}}
    with op.batch_alter_table("runs", recreate="always", table_kwargs=kept) as batch:
        batch.add_column(sa.Column("colour", sa.Text, nullable=False, server_default="red"))
    for _, sql in reversed(made):
        op.execute(sql)
"""


def upgrade(store: Path, migrations: Path) -> None:
    """Open a store for writing as a later ncdiag would, which rebuilds the table that the others hang on."""
    migrate.get_migrations_folder = lambda anchor=None: migrations
    schema.REVISION = "9999"
    with open_store(str(store), write=True):
        pass


def kill_migrations(folder: Path, kills: int, draw: random.Random) -> Account:
    """Kill the making of a store, and the upgrade of one with epochs in it, at random moments."""
    account = Account()
    migrations = folder / "migrations"
    shutil.copytree(migrate.get_migrations_folder(), migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions" / "9999_colour.py").write_text(NEXT.format(head=schema.REVISION))
    old = folder / "old.db"
    timed(partial(train, old, small_spec(), 5))
    new = folder / "new.db"
    shutil.copy(old, new)
    seconds = timed(partial(upgrade, new, migrations))
    while account.kills < kills:
        store = folder / f"{account.kills}.db"
        made_new = draw.random() < 0.3
        if not made_new:
            shutil.copy(old, store)
        child = start(partial(upgrade, store, migrations))
        time.sleep(draw.uniform(0, 0.7 * seconds))
        judge_kill(account, store, child)
        end(start(partial(upgrade, store, migrations)))
        account.finished += 1
        if revision(store) != "9999" or (not made_new and contents(store) != contents(new)):
            account.different += 1
            account.problems.append(f"{store} differs from a store that was upgraded in peace")
        for file in folder.glob(f"{store.name}*"):
            file.unlink()
    return account


def main() -> None:
    """Run the trials that the line asks for, and print the account as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("training", "steps", "sweep", "pool", "stops", "migration", "ordinary"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--step", type=int, default=1, help="kind steps: kill at every N-th step only")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which processes are killed")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        folder = Path(name)
        account = {
            "training": lambda: kill_training(folder, asked.kills, draw),
            "steps": lambda: kill_at_every_step(folder, asked.step),
            "sweep": lambda: kill_sweep(folder, asked.kills, draw),
            "pool": lambda: kill_sweep(folder, asked.kills, draw, jobs=2),
            "stops": lambda: stop_training(folder, asked.kills, draw),
            "migration": lambda: kill_migrations(folder, asked.kills, draw),
            "ordinary": lambda: kill_ordinary(folder, asked.kills, draw),
        }[asked.kind]()
    sys.stdout.write(json.dumps({"kind": asked.kind, **vars(account)}) + "\n")


if __name__ == "__main__":
    main()
