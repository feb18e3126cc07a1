"""Settings: flags win over the file, and mistakes are named."""

from pathlib import Path

import pytest

from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.features import FeatureSpec


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    """A nightly file is overridden for one try without editing it."""
    file = tmp_path / "earmark.toml"
    file.write_text('model = "other"\nlimit = 5\nretry_failed = true\n')
    config = RunConfig.load(file, limit=7, model=None)
    assert (config.model, config.limit, config.retry_failed) == ("other", 7, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'x'\n", r"unknown setting 'modle' in .*earmark.toml; did you mean 'model'\?"),
        ("track-timeout = 9\n", r"unknown setting 'track-timeout' in .*; did you mean 'track_timeout_s'\?"),
        ("polka = 1\n", r"unknown setting 'polka' in .*earmark.toml; the settings are model, address"),
        ("limit = 'many'\n", r"setting 'limit' in .*earmark.toml: must be a valid integer, not 'many'"),
        ("notify = 'ftp://t0ken'\n", r"setting 'notify' in .*: must begin with http:// or https://$"),
        ("limit = true\n", r"setting 'limit' in .*earmark.toml: must not be true or false"),
        ("limit = 0\n", r"setting 'limit'.*greater than or equal to 1"),
        ("track_timeout_s = 1e8\n", r"setting 'track_timeout_s'.*less than or equal to 10000000"),
        ("track_timeout_s = inf\n", r"setting 'track_timeout_s'.*finite number"),
        ("limit\n", "not valid TOML"),
        ("model = ''\n", r"setting 'model'.*at least 1 character"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    """A mistyped key that was silently ignored would run with the wrong settings all night."""
    file = tmp_path / "earmark.toml"
    file.write_text(text)
    with pytest.raises(MisuseError, match=message):
        RunConfig.load(file)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors on Windows write one, and the file is not valid TOML."""
    file = tmp_path / "earmark.toml"
    file.write_text("limit = 5\n", "utf-8-sig")
    assert RunConfig.load(file).limit == 5


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path in the message is the one that was given."""
    with pytest.raises(MisuseError, match=r"nothing\.toml: No such file"):
        RunConfig.load(tmp_path / "nothing.toml")


def test_the_feature_set_names_the_values() -> None:
    """Equal specs share features, different ones never do; the name never changes."""
    assert FeatureSpec().feature_set == FeatureSpec(n_mels=128).feature_set == "24ea1669f0"
    assert FeatureSpec(descriptors=True).feature_set != FeatureSpec().feature_set
