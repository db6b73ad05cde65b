"""Uploading files as the AutoGPT Platform contract has it, and having them back by links, which are ours."""

from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter
from litestar.response import Stream

from agentplat.accounts.models import User
from agentplat.files import rules, uploads
from agentplat.files.models import FileLink, UploadedFile
from agentplat.infra.inbound import body_of
from agentplat.infra.refusals import refusal

CurrentUser = NamedDependency[User]
Seconds = Annotated[int, QueryParameter(ge=1, le=48 * 3600)]
Expires = Annotated[int, QueryParameter(ge=0, le=253_402_300_799)]
FileId = FromPath[str]
WantedRange = Annotated[str | None, HeaderParameter(name="Range")]
Condition = Annotated[str | None, HeaderParameter(name="If-Range")]


@dataclass
class _FormOperation(Operation):
    """The body is read by hand, so it has to be described by hand."""

    def __post_init__(self) -> None:
        file = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": file}, required=["file"])
        self.request_body = RequestBody({"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@post(
    "/upload",
    status_code=200,
    operation_class=_FormOperation,
    responses={
        400: refusal("The file has a virus, or is to be kept for more or less than 1 to 48 hours."),
        413: refusal("The file is too large, or there is no room left for it."),
        415: refusal("Files of this type can't be uploaded."),
        503: refusal("The storage or the virus scanner does not answer."),
    },
)
async def upload_file(
    request: Request[Any, Any, Any],
    user: CurrentUser,
    provider: FromQuery[str] = "gcs",
    expiration_hours: FromQuery[int] = 24,
) -> UploadedFile:
    """Upload one file, for up to two days. `provider` is ignored: where files are kept, the platform decides."""
    return await uploads.receive(
        user.id, body_of(request), request.headers.get("content-type", ""), request.content_length, expiration_hours
    )


@get("/{file_id:str}/link", responses={404: refusal("There is no such file.")})
async def link_file(file_id: FileId, user: CurrentUser, expires_in: Seconds = 3600) -> FileLink:
    """A link to a file of yours that works without a token, for so many seconds. Not in the contract."""
    return await uploads.link(user.id, file_id, expires_in)


@get(
    "/{file_id:str}/content",
    opt={"public": True, "content_type": "*/*"},
    responses={
        206: refusal("The part of the file that was asked for."),
        403: refusal("The link was changed, or is over."),
        404: refusal("The file is not there any more."),
        416: refusal("The file has no such part."),
        503: refusal("The storage does not answer."),
    },
)
async def download_file(
    file_id: FileId,
    expires: Expires,
    signature: FromQuery[str],
    wanted: WantedRange = None,
    condition: Condition = None,
) -> Stream:
    """What a link leads to: the file, or one range of it. A condition on a range is never met: files have no tags."""
    found = await uploads.open_link(file_id, expires, signature, None if condition else wanted)
    return Stream(
        found.content,
        status_code=206 if found.partial else 200,
        headers=rules.download_headers(found.file, found.start, found.end, found.partial),
    )


router = Router("/api/files", route_handlers=[upload_file, link_file, download_file], tags=["files"])
