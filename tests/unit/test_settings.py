"""Options of commands, which are made from the declarations of what they set."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from jobs.cli.commands.settings import range_of, with_settings, with_training
from jobs.cli.main import app
from jobs.engine.cluster import plan_actors
from jobs.evaluation.evaluate import evaluate_job
from jobs.evaluation.request import Request
from jobs.training.train import TrainRequest, check_options
from pipeline.models.classifier import CPU_BATCH_SIZE, GPU_BATCH_SIZE
from pipeline.training.training_settings import TrainingSettings
from schemas.config import RunConfig
from schemas.errors import MisuseError
from tests.commands import COMMANDS

RUN = (
    "model", "address", "limit", "retry_failed", "descriptors", "segment_labels", "min_confidence", "actors",
    "gpus_per_actor", "batch_size", "cpus", "track_timeout_s", "track_memory_mb", "max_failure_rate",
)  # fmt: skip
FLAGS = {
    "run": "--config --model --address --limit --retry-failed --descriptors --segment-labels --embeddings "
    "--min-confidence --actors --gpus-per-actor --batch-size --cpus --track-timeout --track-memory "
    "--max-failure-rate --keep-features --publish --publish-format --notify --dry-run --catalog-moved",
    "featurize": "--config --model --address --limit --retry-failed --descriptors --cpus --track-timeout "
    "--track-memory --max-failure-rate --notify --only --dry-run --catalog-moved",
    "label": "--config --model --address --retry-failed --segment-labels --embeddings --min-confidence "
    "--actors --gpus-per-actor --batch-size --cpus --max-failure-rate --publish --publish-format --notify "
    "--dry-run",
    "scan": "--out --limit",
    "train": "--out --on --arch --split --epochs --batch-size --learning-rate --weight-decay --dropout "
    "--label-smoothing --early-stopping --class-weights --seed --threads --split-seed --seeds --grid --from "
    "--like --name --label-column --tables --checkpoint --tensorboard --address --cpus",
    "evaluate": "--arch --split --folds --pieces --baselines --outside --label-column --tables --json --html "
    "--epochs --seed --threads --address --cpus",
    "plot": "--out --model --segment",
    "explain": "--method --genre --out --model --segment",
}
"""What the commands took before their options were made from declarations."""


def taken(*arguments: str) -> tuple[RunConfig, Mapping[str, object], str]:
    """What a command gets for these arguments, and what is printed where it gets nothing."""
    got: list[tuple[RunConfig, Mapping[str, object]]] = []
    small = typer.Typer(rich_markup_mode=None)

    @small.command()
    @with_training("epochs", "class_weights", "learning_rate")
    @with_settings(*RUN, file=True)
    def command(settings: RunConfig, training: Mapping[str, object]) -> None:
        got.append((settings, training))

    done = CliRunner().invoke(small, arguments)
    assert done.exit_code == (0 if got else 2), done.output
    return (*got[0], "") if got else (RunConfig(), {}, done.output)


@pytest.mark.parametrize("name", FLAGS)
def test_no_command_has_lost_a_flag(name: str) -> None:
    """Every script and every crontab that names one would exit with 2 after an update."""
    flags = {flag for each in COMMANDS[name].params for flag in each.opts if flag.startswith("--")}
    assert flags == {*FLAGS[name].split(), "--log-level", "--log-format"}


@pytest.mark.parametrize(
    "arguments", ["--log-level error models add x --log-format json", "models add x --log-level error"]
)
def test_a_command_of_a_group_takes_the_log_options_too(
    arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`earmark models add audioset --log-format json` would end in a traceback: its parent is the group."""
    configured: list[tuple[str, str]] = []
    for module in ("jobs.cli.main", "jobs.cli.log_options"):
        monkeypatch.setattr(f"{module}.configure", lambda *given: configured.append(given))
    done = CliRunner().invoke(app, arguments.split())
    assert isinstance(done.exception, MisuseError), done.output
    assert configured[-1] == ("error", "json" if "json" in arguments else "text")


def test_a_model_that_is_evaluated_is_not_trained() -> None:
    """Somebody takes the figures for those of a longer training."""
    done = CliRunner().invoke(app, ["evaluate", "gtzan", "nowhere", "--epochs", "9"])
    assert str(done.exception) == "--epochs has no effect on gtzan, which is already trained; omit it"


def test_every_setting_comes_through_from_its_flag() -> None:
    """A flag that sets another setting, or none, is worse than one that is missing."""
    flags = (
        "--model m --address a:1 --limit 2 --retry-failed --descriptors --segment-labels "
        "--min-confidence 0.25 --actors 3 --gpus-per-actor 0.5 --batch-size 4 --cpus 5 --track-timeout 1.5 "
        "--track-memory 65 --max-failure-rate 1 --epochs 7 --class-weights"
    )
    config, training, _ = taken(*flags.split())
    given = (
        "m", "a:1", 2, True, True, True, 0.25, 3, 0.5, 4, 5, 1.5, 65, 1.0,
    )  # fmt: skip
    assert tuple(getattr(config, name) for name in RUN) == given
    assert training == {"epochs": 7, "class_weights": True}


def test_without_flags_the_declared_defaults_hold() -> None:
    """A default that stands in two places is, sooner or later, two defaults."""
    config, training, _ = taken()
    assert config == RunConfig()
    assert training == {}


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    """The nightly file says to retry; for one night somebody says not to."""
    file = tmp_path / "nightly.toml"
    file.write_text("retry_failed = true\ntrack_timeout_s = 60\nshard_mb = 100\nlimit = 9\n")
    config, _, _ = taken("--config", str(file), "--no-retry-failed", "--limit", "3")
    assert config == RunConfig(retry_failed=False, track_timeout_s=60.0, shard_mb=100, limit=3)


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--track-timeout", "nan", "finite number"),
        ("--track-timeout", "0", "greater than 0"),
        ("--track-timeout", "2 minutes", "valid number"),
        ("--track-memory", "63", "greater than or equal to 64"),
        ("--track-memory", "1.5", "valid integer"),
        ("--gpus-per-actor", "inf", "finite number"),
        ("--min-confidence", "1.01", "less than or equal to 1"),
        ("--actors", "0", "greater than or equal to 1"),
        ("--epochs", "0", "greater than or equal to 1"),
        ("--learning-rate", "nan", "finite number"),
    ],
)
def test_a_bad_value_names_the_flag_and_the_range(flag: str, value: str, reason: str) -> None:
    """Whoever typed --track-timeout does not know that the file calls it track_timeout_s."""
    *_, said = taken(flag, value)
    assert f"Invalid value for '{flag}'" in said
    assert reason in said


def test_every_integer_has_bounds() -> None:
    """A number that somebody's key stuck at overflows in a library, and is an internal error."""
    n_integers = 0
    for name, field in [
        *RunConfig.model_fields.items(),
        *vars(TrainingSettings)["__pydantic_fields__"].items(),
    ]:
        if int in (field.annotation, *get_args(field.annotation)):
            assert "<=x<=" in range_of(field), name
    for name in COMMANDS:
        shown = " ".join(CliRunner().invoke(app, [name, "--help"]).output.split())
        for option in shown.split(" --"):
            if re.search("<int( range)?>", option):
                n_integers += 1
                assert "<=x<=" in option, (name, option)
    assert n_integers > 30


@pytest.mark.parametrize("command", [["train"], ["evaluate"], ["models", "add"], ["run"], ["similar"]])
def test_arguments_are_called_what_the_documentation_calls_them(command: list[str]) -> None:
    """The README says DATA, and the help of two commands {data} and {name}."""
    usage = CliRunner().invoke(app, [*command, "--help"]).output.split("\n\n")[0]
    assert re.search("[A-Z]+[]}.]*$", usage), usage


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("la", "label labels"), ("labels --format t", "table tsv"), ("train --split-", "--split-seed")],
)
def test_the_shell_completes_what_is_typed(typed: str, completed: str) -> None:
    """Somebody presses Tab to find one of 24 commands or 40 options, and gets the names of files."""
    asked = {"_EARMARK_COMPLETE": "complete_bash", "COMP_WORDS": f"earmark {typed}"}
    asked["COMP_CWORD"] = str(len(typed.split()))
    assert CliRunner().invoke(app, prog_name="earmark", env=asked).output.split() == completed.split()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("labels TABLES --format xml", "'--format': 'xml' is not one of 'table', 'csv'"),
        ("labels TABLES --min-confidence 2", "'--min-confidence': must be less than or equal to 1, not '2'"),
        ("compact TABLES --target-mb x", "'--target-mb': must be a valid integer, not 'x'"),
        ("run MUSIC TABLES --actors 0", "'--actors': must be greater than or equal to 1, not '0'"),
        (
            "--log-level loud models",
            "'--log-level' (env var: 'EARMARK_LOG_LEVEL'): 'loud' is not one of 'debug'",
        ),
        ("models --log-level loud", "'--log-level': 'loud' is not one of 'debug'"),
    ],
)
def test_a_bad_value_is_named(command: str, said: str) -> None:
    """Words of a library, such as "Value error" and "Input", precede or replace what was typed."""
    done = CliRunner().invoke(app, command.split(), env={"COLUMNS": "200"})
    assert f"Invalid value for {said}" in done.output


@pytest.mark.parametrize("command", [[], ["run"], ["models"], ["models", "add"]])
def test_h_asks_for_help(command: list[str]) -> None:
    """What most programs take is answered with an error that names no other way."""
    asked, help_ = (CliRunner().invoke(app, [*command, flag]).output for flag in ("-h", "--help"))
    assert asked == help_


@pytest.mark.parametrize("seeds", ["0,-1", "4294967296"])
def test_seeds_that_libraries_refuse_are_refused(seeds: str) -> None:
    """The training fails after the features of all tracks have been computed."""
    done = CliRunner().invoke(app, ["train", "data", "--out", "model", "--seeds", seeds])
    assert str(done.exception) == f"--seeds takes integers from 0 to 4294967295, not '{seeds}'"


@pytest.mark.parametrize(
    "option",
    ["--arch cnn", "--grid dropout=0,0.1", "--dropout 0.1", "--dropout 0", "--no-class-weights"],
)
def test_a_head_takes_no_option_of_a_network(tmp_path: Path, option: str) -> None:
    """Somebody who turns dropout off would take the head for one that was trained without it."""
    command = ["train", str(tmp_path), "--out", str(tmp_path / "model"), "--on", "embeddings"]
    done = CliRunner().invoke(app, [*command, "--seed", "0", *option.split()])
    flag = option.split()[0].replace("--no-", "--")
    assert str(done.exception) == f"--on embeddings trains no network, so {flag} has no effect; omit it"


def test_metrics_and_page_have_files_of_their_own() -> None:
    """Half an hour of evaluation: the page takes the place of the metrics."""
    done = CliRunner().invoke(app, ["evaluate", "gtzan", "data", "--json", "out", "--html", "out"])
    assert str(done.exception) == "--json and --html both name out; choose two different files"


def test_no_pieces_are_refused() -> None:
    """The evaluation divides by zero after the features of all tracks have been computed."""
    with pytest.raises(MisuseError, match="--folds and --pieces must be at least 1"):
        evaluate_job(Request("data", arch="cnn", n_pieces=0))


@pytest.mark.parametrize("option", ["checkpoint", "tensorboard"])
def test_a_training_looks_first_at_where_it_writes(tmp_path: Path, option: str) -> None:
    """The training fails after the features of all tracks have been computed."""
    chosen: dict[str, Any] = {option: "/dev/null"}
    request = TrainRequest("data", tmp_path / "model", **chosen)
    with pytest.raises(MisuseError, match="/dev/null is not a writable directory"):
        check_options(request)


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_no_setting_of_the_file_is_infinite(tmp_path: Path, value: str) -> None:
    """Actors of infinitely many GPUs fit nowhere: the run would wait for ever."""
    file = tmp_path / "nightly.toml"
    file.write_text(f"gpus_per_actor = {value}\n")
    done = CliRunner().invoke(app, ["label", str(tmp_path), "--config", str(file)])
    assert str(done.exception) == f"setting 'gpus_per_actor' in {file}: must be a finite number, not {value}"


def test_the_help_says_default_and_range_as_they_are_declared() -> None:
    """A help that is written by hand promises a default that was changed long ago."""
    shown = " ".join(CliRunner().invoke(app, ["run", "--help"]).output.split())
    for name in RUN:
        field = RunConfig.model_fields[name]
        assert str(field.description) in shown, name
    assert "[default: 120; 0<x<=10000000]" in shown
    assert "[default: 320; 64<=x<=10000000]" in shown
    assert "--retry-failed / --no-retry-failed" in shown
    shown = " ".join(CliRunner().invoke(app, ["train", "--help"]).output.split())
    epochs = [TrainingSettings.for_arch(arch).epochs for arch in ("cnn", "dense")]
    assert "[default: {}; dense: {}; 1<=x<=1000000]".format(*epochs) in shown


def test_what_holds_without_a_setting_is_what_its_meaning_says() -> None:
    """Somebody sizes a cluster by the help, which no check of types covers."""
    fields = RunConfig.model_fields
    sizes = f"Default: {GPU_BATCH_SIZE} on a GPU, {CPU_BATCH_SIZE} on CPUs"
    assert sizes in str(fields["batch_size"].description)
    plans = [plan_actors(RunConfig(), cpus, gpus) for cpus, gpus in ((64, 0), (64, 2))]
    assert [plan.n_actors for plan in plans] == [64 // 8, 2]
    assert [plan.batch_size for plan in plans] == [CPU_BATCH_SIZE, GPU_BATCH_SIZE]
    assert all(field.description for field in fields.values())
