"""`endless_video.py COMMAND ...`: the command line, with a video that never ends."""

import itertools
import signal
import sys

import numpy as np

from tokjax import cli
from tokjax.conversion import media, token_files


def endless(path):
    return (np.full((16, 16, 3), number % 256, np.uint8) for number in itertools.count()), 8.0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    media.read_video, media.count_frames = endless, lambda path: 10**6
    token_files.PART_VALUES = 2**10  # so that the first part is soon written
    sys.exit(cli.main(sys.argv[1:]))
