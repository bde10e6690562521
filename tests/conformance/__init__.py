import pytest

# Its asserts stand in a module that is no test itself.
pytest.register_assert_rewrite("tests.conformance.contract")
