"""The blocks of a recipe, and what each key means."""

from cft.recipe.blocks.base import Block, Text
from cft.recipe.blocks.data import (
    DATA_BLOCKS,
    TEACHERS,
    CritiquesData,
    DataBlock,
    DemonstrationsData,
    ExactTeacher,
    FileTeacher,
    ModelTeacher,
    NoData,
    StudentBlock,
    Style,
    Teacher,
)
from cft.recipe.blocks.endpoint import EndpointBlock, PriceBlock
from cft.recipe.blocks.recipe import ModelBlock, Recipe, models_of
from cft.recipe.blocks.scoring import Arm, ElicitorBlock, EvalBlock
from cft.recipe.blocks.train import METHODS, TRAIN_BLOCKS, Method, NoTrain, SelectBlock, SftTrain, TrainBlock

__all__ = [
    "DATA_BLOCKS",
    "METHODS",
    "TEACHERS",
    "TRAIN_BLOCKS",
    "Arm",
    "Block",
    "CritiquesData",
    "DataBlock",
    "DemonstrationsData",
    "ElicitorBlock",
    "EndpointBlock",
    "EvalBlock",
    "ExactTeacher",
    "FileTeacher",
    "Method",
    "ModelBlock",
    "ModelTeacher",
    "NoData",
    "NoTrain",
    "PriceBlock",
    "Recipe",
    "SelectBlock",
    "SftTrain",
    "StudentBlock",
    "Style",
    "Teacher",
    "Text",
    "TrainBlock",
    "models_of",
]
