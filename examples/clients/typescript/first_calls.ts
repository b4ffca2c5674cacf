// The README's first calls, by a client that buf made for TypeScript.
//
// FEALTY_POINTS is the address of the points service, FEALTY_TOKEN a till's token.

import { create, equals } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import {
  EarningService,
  RecordPurchaseRequestSchema,
} from "./gen/fealty/points/v1/earning_service_pb.js";
import { TransactionSchema } from "./gen/fealty/points/v1/transaction_pb.js";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

const withToken: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.FEALTY_TOKEN}`);
  return next(request);
};
const transport = createGrpcTransport({
  baseUrl: `http://${process.env.FEALTY_POINTS}`,
  interceptors: [withToken],
});
const till = createClient(EarningService, transport);

const purchase = create(RecordPurchaseRequestSchema, {
  requestId: "typescript-1",
  program: "record-club",
  member: "anna",
  brand: "record-shop",
  orderNumber: "typescript-1",
  amount: { currencyCode: "USD", minorUnits: 4995n },
});
const first = await till.recordPurchase(purchase);
console.log("points:", String(first.transaction!.balances[0]!.available));
const again = await till.recordPurchase(purchase);
console.log("the same again:", again.replayed ? "replayed" : "given twice");
if (!equals(TransactionSchema, first.transaction!, again.transaction!)) {
  throw new Error("another transaction came back");
}
purchase.amount!.minorUnits = 100n;
try {
  await till.recordPurchase(purchase);
  throw new Error("another amount was taken under the same request id");
} catch (error) {
  if (!(error instanceof ConnectError) || error.code !== Code.AlreadyExists) {
    throw error;
  }
  const [info] = error.findDetails(ErrorInfoSchema);
  console.log("refused:", info!.reason, info!.metadata["field"]);
}
