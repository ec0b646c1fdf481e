"How much work a function does, counted in steps instead of seconds: the same on every machine, however busy."
import sys


def count_steps(f, *args):
    "The bytecode instructions of Python that a call executes."
    steps = 0

    def trace(frame, event, arg):
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        f(*args)
    finally:
        sys.settrace(before)
    return steps


def growth(f, make_args, n=400):
    "How many times as many steps twice as much takes: 2 where the work grows with the number, 4 where with its square."
    return count_steps(f, *make_args(2*n))/count_steps(f, *make_args(n))
