"""The blocks of a recipe, and what each key means."""

from cft.recipe.blocks.base import Block, File, Text, named_files
from cft.recipe.blocks.data import (
    CritiquesData,
    CuratedData,
    DataBlock,
    DemonstrationsData,
    ExactTeacher,
    FileTeacher,
    ModelTeacher,
    NoData,
    PromptsData,
    StudentBlock,
    Style,
    Teacher,
    TrajectoriesData,
    VerdictsData,
)
from cft.recipe.blocks.endpoint import EndpointBlock
from cft.recipe.blocks.recipe import ModelBlock, Recipe
from cft.recipe.blocks.scoring import Arm, Decoder, ElicitorBlock, EvalBlock
from cft.recipe.blocks.train import (
    METHODS,
    ROLLOUT_ARGS,
    DistilTrain,
    FileReward,
    GrpoTrain,
    Method,
    NoTrain,
    RandomReward,
    RolloutTrain,
    RuleReward,
    SelectBlock,
    SftTrain,
    TrainBlock,
)
