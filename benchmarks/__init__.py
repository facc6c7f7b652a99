"""What the library costs, measured: `python -m benchmarks` prints JSON, `python -m benchmarks.smoke` sees that all run.

One module for each concern, each with a `run(bench)` that returns figures. Rates are shown beside a floor
(`benchmarks.floor`) that was measured in the same minute on the same database, alternating, because a rate alone says more
about the machine than about the library.
"""
