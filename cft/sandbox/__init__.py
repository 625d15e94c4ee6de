"""Code that is not ours: a user's function in a child process, and programs that a model wrote, confined."""

from cft.sandbox.confinement import Confinement
from cft.sandbox.function import Sandbox, SandboxError
from cft.sandbox.kinds import Limits
from cft.sandbox.program import Finished, read_files, run_program
