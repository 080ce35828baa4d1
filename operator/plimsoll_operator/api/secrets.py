"""Secrets that a spec names. The operator never reads them: the kubelet gives them to pods."""

from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.formats import OBJECT_NAME, SECRET_KEY

ObjectName = Annotated[str, OBJECT_NAME.field()]
SecretKey = Annotated[str, SECRET_KEY.field()]


class SecretRef(ApiModel):
    """A Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


class TokenKeyRef(SecretRef):
    """The key of one that holds a token."""

    key: SecretKey = Field(default="token", description="Key in the Secret.")


class TokenSource(ApiModel):
    """Where a token is."""

    secret_key_ref: TokenKeyRef = Field(description="A Secret that holds the token.")


class ApiKeysRef(SecretRef):
    """The key of one that holds clients' keys."""

    key: SecretKey = Field(default="keys", description="Key in the Secret.")


class ApiKeysSource(ApiModel):
    """Where the keys of clients are."""

    secret_key_ref: ApiKeysRef = Field(
        description="A Secret that holds a line NAME:KEY for each tenant. Engines read it again "
        "when it changes."
    )


class Authentication(ApiModel):
    """What clients must show."""

    api_keys_from: ApiKeysSource | None = Field(
        default=None,
        description="Keys that open the API, as Authorization: Bearer KEY. Absent: none is needed.",
    )


class CertificateSource(ApiModel):
    """Where a certificate and its key are."""

    secret_ref: SecretRef = Field(
        description="A Secret of the type kubernetes.io/tls. Engines read it again when it changes."
    )


class Tls(ApiModel):
    """How the engines' API speaks TLS."""

    certificate_from: CertificateSource = Field(
        description="The certificate that clients are shown, for NAME.NAMESPACE.svc and whatever "
        "else they call the engines by."
    )


class Cache(ApiModel):
    """Where downloads are kept."""

    claim_name: ObjectName = Field(
        description="A PersistentVolumeClaim. Replicas on several nodes need one that is "
        "ReadWriteMany."
    )
