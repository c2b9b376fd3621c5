"""`operon lint PATH…` and which files it takes."""

import json
import sys

import pytest
from click.testing import CliRunner

from operon.cli import operon as command
from operon.errors import DeclarationError
from operon.errors import MisuseError
from operon.lint import lint_path
from tests.lint.bodies import module

WRONG = module("return time.time()")
RIGHT = module("return self.now()")
BROKEN = "x = 1\nclass = 2\n"


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """The test's own folder is where the command is called."""
    monkeypatch.chdir(tmp_path)


def invoke(*args):
    return CliRunner().invoke(command, ["lint", *map(str, args)])


def write(folder, **texts):
    for name, text in texts.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def test_nothing_wrong_is_exit_code_0(tmp_path):
    write(tmp_path, right=RIGHT, plain="x = 1\n")

    finished = invoke(".")

    assert (finished.exit_code, finished.output) == (0, "0 findings in 2 files.\n")


def test_a_finding_is_exit_code_1_and_a_line_that_editors_can_follow(tmp_path):
    write(tmp_path, shop=WRONG)

    finished = invoke("shop.py")

    line = WRONG.split("\n").index("        return time.time()") + 1
    assert finished.exit_code == 1
    assert finished.output == (
        f"shop.py:{line}:16: OPN001 `time.time()` reads a clock, which says another "
        "time on every replay; use self.now(), or read the clock in a step\n"
        "1 finding in 1 file.\n"
    )


def test_a_file_that_is_not_python_is_exit_code_2_and_the_others_are_examined(tmp_path):
    write(tmp_path, a=BROKEN, b=WRONG)

    finished = invoke(tmp_path)

    assert finished.exit_code == 2
    assert f"Error: {tmp_path / 'a.py'}:2 is not Python: invalid" in finished.stderr
    assert "b.py" in finished.stdout
    assert finished.stdout.endswith("1 finding in 2 files.\n")


@pytest.mark.parametrize("args", [(), ("nowhere",), (".", "nowhere.py")], ids=str)
def test_a_path_that_is_not_there_is_exit_code_2(args):
    finished = invoke(*args)

    assert finished.exit_code == 2
    assert finished.output.startswith("Usage: operon lint ")


def test_json_tells_programs_everything(tmp_path):
    write(tmp_path, a=BROKEN, b=WRONG, c=RIGHT)

    finished = invoke("--json", ".")

    answer = json.loads(finished.stdout)
    [finding] = answer["findings"]
    assert finished.exit_code == 2
    assert answer["files"] == 3
    [unreadable] = answer["unreadable"]
    assert unreadable.startswith("a.py:2 is not Python: invalid syntax; mend it")
    assert (finding["filename"], finding["column"]) == ("b.py", 16)
    assert (finding["code"], finding["via"]) == ("OPN001", ["W.run"])
    assert set(finding) == {
        "filename",
        "line",
        "column",
        "code",
        "fact",
        "cure",
        "via",
    }


def test_a_file_that_is_named_twice_is_examined_once(tmp_path):
    write(tmp_path / "shop", a=WRONG)

    assert "1 finding in 1 file." in invoke("shop", "shop/a.py").output


def test_a_folder_without_python_is_no_success(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "notes.txt").write_text(WRONG, encoding="utf-8")

    finished = invoke("shop")

    assert finished.exit_code == 2
    assert "there is no Python file in 'shop'" in finished.output


def test_control_characters_of_a_file_name_are_spelled_out(tmp_path):
    write(tmp_path, **{"a\x1b[31m": WRONG})

    assert "\x1b" not in invoke(".").output


def test_it_needs_no_application_and_imports_nothing(tmp_path):
    write(tmp_path, not_imported=f"raise SystemExit('imported')\n{WRONG}")

    finished = invoke("not_imported.py")

    assert finished.exit_code == 1
    assert "not_imported" not in sys.modules


def test_hidden_folders_environments_and_installed_packages_are_left_out(tmp_path):
    write(tmp_path / "shop" / "deep", a=WRONG)
    for name in (".hidden", "node_modules", "__pycache__", "site-packages", "env/lib"):
        write(tmp_path / name, b=WRONG)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "notes.txt").write_text(WRONG, encoding="utf-8")

    found = {each.filename for each in lint_path(tmp_path)}

    assert found == {str(tmp_path / "shop" / "deep" / "a.py")}


@pytest.mark.parametrize("folder", [".hidden", "env"])
def test_what_is_named_itself_is_not_left_out(tmp_path, folder):
    write(tmp_path / folder, a=WRONG)
    (tmp_path / folder / "pyvenv.cfg").touch()

    assert len(lint_path(tmp_path / folder)) == 1


def test_a_file_is_examined_whatever_its_name(tmp_path):
    (tmp_path / "script").write_text(WRONG, encoding="utf-8")

    assert len(lint_path(tmp_path / "script")) == 1


def test_a_folder_that_leads_to_itself_ends(tmp_path):
    write(tmp_path, a=WRONG)
    (tmp_path / "again").symlink_to(tmp_path)

    assert len(lint_path(tmp_path)) == 1


def test_a_path_may_be_text(tmp_path):
    write(tmp_path, a=WRONG)

    assert lint_path(str(tmp_path)) == lint_path(tmp_path)


def test_a_path_that_does_not_exist_is_named_with_the_cure(tmp_path):
    with pytest.raises(MisuseError, match="does not exist; name a file or a folder"):
        lint_path(tmp_path / "nowhere")


def test_a_file_is_read_in_the_encoding_it_declares(tmp_path):
    text = f"# coding: latin-1\n{module('ä = time.time()')}"
    (tmp_path / "a.py").write_bytes(text.encode("latin-1"))
    (tmp_path / "b.py").write_bytes(b"\xef\xbb\xbf" + WRONG.encode())

    assert [each.column for each in lint_path(tmp_path)] == [13, 16]


@pytest.mark.parametrize(
    "content",
    [b"x = '\xff'\n", b"# coding: nonsense\n", b"# coding: rot13\nk = 1\n"],
)
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path, content):
    (tmp_path / "a.py").write_bytes(content)

    with pytest.raises(DeclarationError, match=r"a\.py' cannot be read as Python: .*;"):
        lint_path(tmp_path)


def test_a_file_that_leads_nowhere_is_refused_by_name(tmp_path):
    (tmp_path / "a.py").symlink_to(tmp_path / "gone")

    with pytest.raises(DeclarationError, match=r"a\.py' cannot be read as Python"):
        lint_path(tmp_path)
    assert invoke(".").exit_code == 2
