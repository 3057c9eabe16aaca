import pathlib
import sys

# The toy task is a module beside the tests.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
