from agentplat.infra.errors import AppError, BadRequest, Invalid, NotAllowed, NotFound, TooLarge, Unavailable


class FormInvalid(Invalid):
    """The body is no multipart form with one file in it"""

    @classmethod
    def of(cls, problem: str, *place: str) -> "FormInvalid":
        return cls(problem, detail=[{"type": "value_error", "loc": ["body", *place], "msg": problem}])


class FileTooLarge(TooLarge):
    """This file is larger than what may be uploaded"""

    code = "file_too_large"

    def __init__(self, megabytes: int) -> None:
        # Clients look for both halves of this sentence.
        super().__init__(f"File size exceeds the maximum allowed size of {megabytes}MB")


class QuotaExceeded(TooLarge):
    """There is no room left for this file"""

    code = "upload_quota_exceeded"

    def __init__(self, megabytes: int) -> None:
        super().__init__(
            f"Your uploads may have at most {megabytes} MB together",
            hint="Upload less, or wait until some of your files have expired.",
        )


class TypeNotAllowed(AppError):
    """Files of this type can't be uploaded"""

    status = 415
    code = "type_not_allowed"


class FileInfected(BadRequest):
    """The file has a virus"""

    code = "file_infected"


class ScanFailed(Unavailable):
    """The file could not be scanned for viruses"""

    code = "scan_failed"


class StorageUnavailable(Unavailable):
    """The storage of files does not answer"""

    code = "storage_unavailable"


class FileNotFound(NotFound):
    """There is no such file (any more)"""

    code = "file_not_found"


class LinkInvalid(NotAllowed):
    """This link was changed, or is over"""

    code = "link_invalid"


class RangeInvalid(AppError):
    """The file has no such part"""

    status = 416
    code = "range_invalid"
