"""tests/durations.txt: made from a log, and what it calls slow is marked so."""

from conftest import SECONDS

from tools import durations

LOG = """
============ slowest durations ============
12.50s call     tests/a/test_b.py::test_c[x y-1]
3.00s setup    tests/a/test_b.py::test_c[x y-1]
0.40s call     tests/a/test_b.py::test_d
1.10s call     tests/a/test_b.py::test_e
0.02s teardown tests/a/test_b.py::test_e
"""


def test_a_log_becomes_the_file_and_back(tmp_path):
    found = durations.measured(LOG.splitlines())
    assert found == {
        "tests/a/test_b.py::test_c[x y-1]": 15.5,
        "tests/a/test_b.py::test_d": 0.4,
        "tests/a/test_b.py::test_e": 1.1,
    }
    path = tmp_path / "durations.txt"
    path.write_text(durations.written(found))
    assert durations.known(path) == {name: took for name, took in found.items() if took >= durations.LISTED}


def test_the_committed_file_is_in_order_and_names_test_files_that_exist():
    root = durations.FILE.parents[1]
    assert list(SECONDS.values()) == sorted(SECONDS.values(), reverse=True)
    assert {name for name in SECONDS if not (root / name.split("::")[0]).exists()} == set()


def test_slow_tests_are_marked(request):
    for item in request.session.items:
        if SECONDS.get(item.nodeid, 0.0) >= durations.SLOW:
            assert item.get_closest_marker("slow") is not None
