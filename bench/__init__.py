"""Measures the server beside its peers, in one run on one machine: `make bench-http`.

__main__ ── what to run ──▶ workloads ── processes ──▶ contenders
                                │ load ──▶ load (wrk), memory (/proc)
                                ▼
                             measure ── rounds, interleaved ──▶ report (table, JSON)
"""
