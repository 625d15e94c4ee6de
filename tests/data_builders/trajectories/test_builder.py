"""The builder as a user meets it: recipe, plan, data stage, report; and no secret is written or shown."""

import json
from pathlib import Path

import pytest

from cft.errors import DataError
from cft.pipeline import file_hashes
from cft.recipe.blocks import TrajectoriesData
from cft.recipe.load import load_recipe
from data_builders.build import planned_characters
from data_builders.estimate import estimate_calls
from data_builders.trajectories.build import build_trajectories
from data_builders.trajectories.secrets import mask
from tests.support.command import cft

FILES = Path(__file__).parent
RECIPE = """
name: agent
model: {id: smollm2-135m}
data: {builder: trajectories, path: logs}
train: {method: sft}
eval: {tasks: [cft_wordproblems], arms: [base, adapter]}
"""
KEY, MAIL = "sk-proj-Ab3Cd4Ef5Gh6Ij7Kl8", "ada.l@acme.io"


def test_the_data_stage_writes_rows_and_tells_what_it_did_without_any_secret(tmp_path):
    (tmp_path / "agent.yaml").write_text(RECIPE)
    (tmp_path / "logs/deep").mkdir(parents=True)
    text = (FILES / "openai.jsonl").read_text().replace("Rain in Oslo.", f"{KEY} is the key of {MAIL}")
    (tmp_path / "logs/deep/a.jsonl").write_text(text)
    (tmp_path / "logs/b.jsonl").write_text('{"messages": [{"role": "user", "content": "only asked"}]}\n')
    block = TrajectoriesData(builder="trajectories", path=str(tmp_path / "logs"))
    assert len(planned_characters(block)) == 1 and estimate_calls(block, 0, None, tmp_path) == []  # for the plan
    made = cft("data", "agent.yaml", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "refused 1: no assistant turn (b.jsonl:1)" in made.stderr + made.stdout
    assert "masked 1: mail address (deep/a.jsonl:1)" in made.stderr + made.stdout
    (folder,) = tmp_path.glob("runs/agent/*/data")
    written = "".join(path.read_text() for path in folder.iterdir()) + made.stdout + made.stderr
    assert KEY not in written and MAIL not in written
    (row,) = map(json.loads, (folder / "examples.jsonl").read_text().splitlines())
    assert row["id"] == "oslo" and row["messages"][-1]["content"] == "<KEY_1> is the key of <MAIL_ADDRESS_1>"
    assert json.loads((folder / "manifest.json").read_text())["counts"]["examples"] == 1
    assert "| refused | no assistant turn | 1 | b.jsonl:1 |" in (folder / "README.md").read_text()


def test_a_run_depends_on_the_files_and_wrong_paths_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("agent.yaml").write_text(RECIPE)
    Path("logs").mkdir()
    hashes = []
    for text in ("1", "2"):
        Path("logs/a.json").write_text(text)
        hashes.append(file_hashes(load_recipe("agent.yaml"))["data.path"])
    assert hashes[0] != hashes[1]
    for path, fault in (("nowhere", "there is no such set of"), (".git", "no .jsonl or .json"), ("logs", "no row is")):
        Path(".git").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=fault):
            build_trajectories(TrajectoriesData(builder="trajectories", path=path), tmp_path / "out", 0, "t")
    assert not Path("out/examples.jsonl").exists()


def test_max_examples_are_drawn_by_the_seed_over_all_files_in_their_order(tmp_path):
    drawn = []
    for seed in (0, 0, 1):
        data = TrajectoriesData(builder="trajectories", path=str(FILES), max_examples=5)
        counts = build_trajectories(data, tmp_path, seed, "t")
        drawn.append([json.loads(line)["id"] for line in (tmp_path / "examples.jsonl").read_text().splitlines()])
    assert (counts["examples"], counts["over_max_examples"]) == (5, 15)
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 5


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcdef123456ghijkl", "Authorization: Bearer <KEY_1>"),
        ("export OPENAI_API_KEY=sk-proj-abc123def456ghi789", "export OPENAI_API_KEY=<KEY_1>"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "<KEY_1>"),
        ("AKIAIOSFODNN7EXAMPLE", "<KEY_1>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_", "<KEY_1>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE+/=\n-----END RSA PRIVATE KEY-----\nx", "<PRIVATE_KEY_1>\nx"),
        ("-----BEGIN PRIVATE KEY-----\nb3BlbnNza", "<PRIVATE_KEY_1>"),
        ("DB_PASSWORD=correcthorse", "DB_PASSWORD=<PASSWORD_1>"),
        ('{\\"api_key\\": \\"abcd-efgh\\"}', '{\\"api_key\\": \\"<PASSWORD_1>\\"}'),
        ("postgres://bob:s3cret@db:5432/x", "postgres://<PASSWORD_1>@db:5432/x"),
        ("github_pat_11ABCDEFG0abcdefghij_klmnop", "<KEY_1>"),
        ("gsk_ab1cd2ef3gh4ij5kl6mn7 SG.abcdefghij123456.abcdefghij123456", "<KEY_1> <KEY_2>"),
        ("hf_" + "abcdefghij" * 3, "<KEY_1>"),
        ("api.telegram.org/bot12345678:AA" + "x-1" * 11, "api.telegram.org/bot<KEY_1>"),
        ("https://hooks.slack.com/services/T01/B02/abcDEF12", "https://hooks.slack.com/services/<KEY_1>"),
        ("AccountName=a;AccountKey=abcdefghij/lmnopqrst+v==;", "AccountName=a;AccountKey=<KEY_1>;"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ\n-----END PGP PRIVATE KEY BLOCK-----", "<PRIVATE_KEY_1>"),
        ("Authorization: token 0123456789abcdef", "Authorization: token <KEY_1>"),
        ("Authorization: Basic YWRtaW46cGFzc3dvcmQ=", "Authorization: Basic <KEY_1>"),
        ("Set-Cookie: session=abc123; Path=/\r\nx", "Set-Cookie: <KEY_1>\r\nx"),
        ("mysql --password opensesame -h db", "mysql --password <PASSWORD_1> -h db"),
        ("curl -s -u ada:opensesame https://a.io", "curl -s -u <PASSWORD_1> https://a.io"),
        ("OPENAI_KEY=abc12345 password: 'pa$$word'", "OPENAI_KEY=<PASSWORD_2> password: '<PASSWORD_1>'"),
        ('{"password": 12345678}', '{"password": <PASSWORD_1>}'),
        ('password: "password"', 'password: "<PASSWORD_1>"'),
        ("from ada@acme.io to bob@acme.io", "from <MAIL_ADDRESS_1> to <MAIL_ADDRESS_2>"),
        *[(same, same) for same in (
            "max_tokens: 4096, token = tokenizer.next()", "the secret: be kind", "a@example.com, git@github.com:a/b",
            "task-management-of-2-things", "def f(password: str): return secret_key",
            "secret = base64.b64decode(s)", "token: Uint8Array", "api_key=settings.X1_KEY", "API_KEY=$KEY",
            "https://{user}:{password}@a.io", "q@k.transpose(1, 2)", "x@self.weight.T", "icon@2x.png",
            "getty@tty1.service", "hf_hub_download_with_retries", "basic tests/test_utils2.py",
            "curl https://a-u.io:80/x", "a --password PASSWORD option")],
    ],
)  # fmt: skip
def test_secrets_have_placeholders_and_code_stays(text, masked):
    assert mask({"content": text})[0] == {"content": masked}


def test_a_secret_has_one_placeholder_wherever_it_stands_in_a_row():
    row = {"args": {"password": "opensesame"}, "content": "opensesame of x@a.io", "x@a.io": [1, None, "x@a.io"]}
    mail = "<MAIL_ADDRESS_1>"
    masked = {"args": {"password": "<PASSWORD_1>"}, "content": f"<PASSWORD_1> of {mail}", mail: [1, None, mail]}
    assert mask(row) == (masked, ["password", "mail address"])


def test_a_word_under_a_secrets_key_is_masked_everywhere_but_not_within_words():
    row = {"args": {"secret": "letmein", "pin": {"password": 123456}, "token": "identifier"}}
    (masked, _), one, two = mask(row | {"content": "letmein 123456 letmeins 91234567"}), "<PASSWORD_1>", "<PASSWORD_2>"
    assert masked["args"] == {"secret": one, "pin": {"password": two}, "token": "identifier"}
    assert masked["content"] == f"{one} {two} letmeins 91234567"
    assert mask({"password": "password", "type": "string"})[0] == {"password": one, "type": "string"}


def test_a_long_text_of_marks_takes_no_quadratic_time():
    for text in (
        "a" * 10**6,
        "token=" * 10**4,
        "a@" * 10**5,
        "-----BEGIN PRIVATE KEY-----" * 100,
        "://a:" * 10**5,
        "curl -u " * 10**4,
        "--password " * 10**4,
        "token: " + "aB1" * 10**5,
        "Cookie: a=" * 10**4,
    ):
        mask({"content": text})
