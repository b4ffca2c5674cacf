"""The README's first calls, by a client that buf made for Python.

FEALTY_POINTS is the address of the points service, FEALTY_TOKEN a till's token.
"""

import os
import sys

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from fealty.points.v1 import earning_service_pb2 as earning
from fealty.points.v1.earning_service_pb2_grpc import EarningServiceStub
from fealty.type.v1.money_pb2 import Money


class Bearer(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Sends the token with every call, as TLS credentials would."""

    def __init__(self, token):
        self.header = ("authorization", f"Bearer {token}")

    def with_token(self, details):
        metadata = [*(details.metadata or []), self.header]
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self.with_token(details), request)

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(self.with_token(details), requests)


def refusal(error):
    """What a refusal says to machines: the reason, and what belongs to it."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info
    raise error


def main():
    channel = grpc.intercept_channel(
        grpc.insecure_channel(os.environ["FEALTY_POINTS"]), Bearer(os.environ["FEALTY_TOKEN"])
    )
    till = EarningServiceStub(channel)
    purchase = earning.RecordPurchaseRequest(
        request_id="python-1",
        program="record-club",
        member="anna",
        brand="record-shop",
        order_number="python-1",
        amount=Money(currency_code="USD", minor_units=4995),
    )
    first = till.RecordPurchase(purchase)
    print("points:", first.transaction.balances[0].available)
    again = till.RecordPurchase(purchase)
    print("the same again:", "replayed" if again.replayed else "given twice")
    assert again.transaction == first.transaction
    purchase.amount.minor_units = 100
    try:
        till.RecordPurchase(purchase)
        sys.exit("another amount was taken under the same request id")
    except grpc.RpcError as error:
        info = refusal(error)
        print("refused:", info.reason, info.metadata["field"])
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    print("services:", " ".join(sorted(services)))


main()
