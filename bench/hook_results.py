"""Gathers what `bench/gpu.sh hook` measured, and holds the hook's cost to its bars.

    python3 bench/hook_results.py OUT [RESULT.json GPU]

OUT: the folder with the step's logs. Prints a table; with RESULT.json the measurements on GPU go there too. The status is 1 if a call
that is left to PyTorch costs more than 2 us, or a served one more than 3 us above the C API's own time.
"""
import json
import pathlib
import sys

DECLINED_BAR, SERVED_BAR = 2.0, 3.0  # microseconds of the host


def lines(folder, name):
    """The JSON objects of a log."""
    text = (folder / f"{name}.log").read_text(errors="replace").splitlines()
    return [json.loads(line) for line in text if line.startswith('{"bench"')]


def cost(calls, api):
    """The extra microseconds of each kind of call, and its bar."""
    micros = {(c["hook"], c["call"]): c["us_median"] for c in calls if "us_median" in c}
    extra = {f"left to PyTorch, {call}": (micros["with", call] - micros["without", call], DECLINED_BAR) for call in ("float", "mask")}
    extra["switched off"] = (micros["switched off", "half"] - micros["without", "half"], DECLINED_BAR)
    extra["served, above the C API"] = (micros["with", "half"] - api["us_median"], SERVED_BAR)
    return extra


def main():
    folder = pathlib.Path(sys.argv[1])
    api, calls = lines(folder, "hook-call-cost")[0], lines(folder, "hook-cost")
    model, wide = lines(folder, "hook-model-times"), lines(folder, "hook-wide-model-times")
    for step in model:
        print(f"{step['type']:9} {step['tokens']:6} {step['way']:21} {step['ms']:9.3f} ms  x {step['speed_up']:.2f}  {step['to_pytorch']}")
    for step in wide:
        print(f"{step['type']:9} {step['tokens']:6} wide, {step['mode']:15} {step['ms_with']:9.3f} ms  x {step['speed_up']:.2f}")
    missed = 0
    for what, (micros, bar) in cost(calls, api).items():
        missed += micros > bar
        print(f"{what:27} {micros:6.2f} us, at most {bar:.0f}: {'missed' if micros > bar else 'held'}")
    if len(sys.argv) > 2:
        everything = {"command": "bench/gpu.sh hook PACK", "gpu": sys.argv[3], "c_api": api, "calls": calls, "model": model, "wide_model": wide}
        pathlib.Path(sys.argv[2]).write_text(json.dumps(everything, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
