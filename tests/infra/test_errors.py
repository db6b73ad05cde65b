from agentplat.infra.errors import AppError, NotFound


class OutOfInk(AppError):
    """The printer has no ink."""

    status = 503
    code = "out_of_ink"


def test_docstring_is_the_message() -> None:
    assert str(OutOfInk()) == "The printer has no ink."
    assert str(OutOfInk("Magenta is empty")) == "Magenta is empty"


def test_what_comes_along() -> None:
    error = NotFound("No such graph", detail={"id": 1}, hint="List them", headers={"Retry-After": "1"})
    assert (error.status, error.code) == (404, "not_found")
    assert error.detail == {"id": 1}
    assert error.hint == "List them"
    assert error.headers == {"Retry-After": "1"}
