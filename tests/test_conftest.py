# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py")


def run(pytester, body):
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(body)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_counts_add_up(pytester, compared):
    result = run(pytester, """
        def test_one(compared):
            compared(1200)
            compared(34)

        def test_two(compared):
            compared(1)
    """)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["vectors compared: 1,235"])
    compared(3)


def test_comparing_nothing_fails(pytester, compared):
    result = run(pytester, """
        def test_zero(compared):
            compared(0)

        def test_never(compared):
            pass

        def test_without():
            pass
    """)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines([
        "*compared 0 vectors: nothing was checked", "*compared() was never called*",
    ])
    compared(2)
