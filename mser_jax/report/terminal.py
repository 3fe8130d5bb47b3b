"""Tables for the terminal; see `data_prep.common.terminal`."""

from data_prep.common.terminal import table as table
