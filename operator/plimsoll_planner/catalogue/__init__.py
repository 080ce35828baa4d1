"""The catalogue of accelerators, a module for each vendor."""

from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.catalogue.ampere import AMPERE_AND_TURING
from plimsoll_planner.catalogue.blackwell import BLACKWELL
from plimsoll_planner.catalogue.hopper import ADA_AND_HOPPER
from plimsoll_planner.catalogue.others import CPU_CORE, GAUDI, INSTINCT

CATALOGUE: tuple[Accelerator, ...] = (
    *AMPERE_AND_TURING,
    *ADA_AND_HOPPER,
    *BLACKWELL,
    *INSTINCT,
    *GAUDI,
    CPU_CORE,
)
