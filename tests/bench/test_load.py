"""What wrk prints is read, and what failed is not taken for speed."""

from __future__ import annotations

import pytest

from bench.load import parse
from bench.machine import BenchError

PRINTED = """\
Running 2s test @ http://127.0.0.1:9961/v1/stream/a
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.97ms    6.40ms  47.88ms   91.98%
    Req/Sec    14.62k     8.04k   22.13k    70.00%
  Latency Distribution
     50%  {median}
     75%    1.42ms
     90%    7.16ms
     99%   35.25ms
  29137 requests in 2.01s, 21.90MB read
{errors}Requests/sec:  14462.64
Transfer/sec:     10.87MB
"""


@pytest.mark.parametrize(
    ("median", "seconds"), [("769.00us", 769e-6), ("1.20ms", 1.2e-3), ("2.50s", 2.5), ("1.00m", 60)]
)
def test_result_is_read_in_every_unit(median: str, seconds: float) -> None:
    """Requests, rate and median come out as numbers and seconds."""
    result = parse(PRINTED.format(median=median, errors=""))
    assert (result.requests, result.requests_per_s, result.failed) == (29137, 14462.64, 0)
    assert result.median_s == pytest.approx(seconds)


def test_failures_are_added_up() -> None:
    """Refusals and broken connections both count."""
    errors = "  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 100\n"
    assert parse(PRINTED.format(median="1.00ms", errors=errors)).failed == 107


def test_other_text_is_refused() -> None:
    """No figure is made of an error message."""
    with pytest.raises(BenchError, match="not what wrk prints"):
        parse("unable to connect to 127.0.0.1:9961 Connection refused\n")
