//! Calls by name, as any client makes them: what there is by reflection, requests
//! filled by the names of their fields, answers as bytes.

use bytes::{Buf, BufMut, Bytes};
use fealty_types::{Ids, LotId, LotPlace, Position, ShardId, TransactionPlace};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use tokio_stream::StreamExt as _;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A service at an address, called without the project's own client.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) channel: Channel,
}

impl Server {
    pub(crate) fn at(url: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    /// Calls a method, and answers with its first message.
    pub(crate) async fn call(
        &self,
        path: &str,
        token: Option<&str>,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.expect("it can be reached");
        let mut request = Request::new(tokio_stream::once(message));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        let path = path.parse().expect("a path");
        let answer = client.streaming(request, path, Raw).await?;
        let mut answers = answer.into_inner();
        answers.next().await.expect("an answer")
    }

    /// The full names of the services that it has, by reflection.
    pub(super) async fn services(&self, token: &str) -> Vec<String> {
        let asked = MessageRequest::ListServices(String::new());
        let answer = self.reflect(token, asked).await;
        let MessageResponse::ListServicesResponse(list) = answer else {
            panic!("{answer:?}");
        };
        list.service
            .into_iter()
            .map(|service| service.name)
            .collect()
    }

    /// The names of a service's methods, by reflection.
    pub(super) async fn methods(&self, token: &str, service: &str) -> Vec<String> {
        let asked = MessageRequest::FileContainingSymbol(service.to_owned());
        let answer = self.reflect(token, asked).await;
        let MessageResponse::FileDescriptorResponse(files) = answer else {
            panic!("{answer:?}");
        };
        let files = files.file_descriptor_proto.iter();
        let files = files.map(|file| {
            prost_types::FileDescriptorProto::decode(&**file).expect("a file descriptor")
        });
        let (_, name) = service.rsplit_once('.').expect("in a package");
        let services = files.flat_map(|file| file.service);
        let named = services.filter(|known| known.name() == name);
        let methods = named.flat_map(|service| service.method);
        methods.map(|method| method.name().to_owned()).collect()
    }

    async fn reflect(&self, token: &str, asked: MessageRequest) -> MessageResponse {
        let mut client = ServerReflectionClient::new(self.channel.clone());
        let mut request = Request::new(tokio_stream::once(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(asked),
        }));
        let value = format!("Bearer {token}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
        let answer = client.server_reflection_info(request).await;
        let mut answers = answer.expect("it answers").into_inner();
        let answer = answers.next().await.expect("an answer");
        answer.expect("no refusal").message_response.expect("set")
    }
}

/// What a request names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) program: String,
    pub(super) member: String,
    pub(super) brand: String,
    /// Unique, for request ids and order numbers.
    pub(super) number: u64,
}

/// The contracts, with their options.
pub(super) fn contracts() -> DescriptorPool {
    DescriptorPool::decode(fealty_proto::FILE_DESCRIPTOR_SET).expect("ours")
}

/// A place that every installation may have.
const FIRST: TransactionPlace = TransactionPlace {
    shard: ShardId::new(0),
    position: Position::FIRST,
};

/// A valid request of that type, by the names of its fields.
pub(super) fn request(message: &MessageDescriptor, named: &Named, ids: Ids) -> Bytes {
    fill(message, named, ids).encode_to_vec().into()
}

/// Whether a request of that type, so filled, has a field of that name.
pub(super) fn names(message: &MessageDescriptor, field: &str) -> bool {
    let named = Named {
        program: "p".to_owned(),
        member: "m".to_owned(),
        brand: "b".to_owned(),
        number: 0,
    };
    let filled = fill(message, &named, Ids::new([0; 16]));
    filled.fields().any(|(known, value)| {
        let below = value.as_message();
        known.name() == field
            || below.is_some_and(|below| below.fields().any(|(known, _)| known.name() == field))
    })
}

fn fill(message: &MessageDescriptor, named: &Named, ids: Ids) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let text = |text: &str| Some(Value::String(text.to_owned()));
        let below = || match field.kind() {
            Kind::Message(below) => Some(Value::Message(fill(&below, named, ids))),
            _ => None,
        };
        let value = match field.name() {
            "program" => text(&named.program),
            "member" => text(&named.member),
            "members" => Some(Value::List(vec![Value::String(named.member.clone())])),
            "brand" => text(&named.brand),
            "recipient" => text("somebody-else"),
            "currency" => text("points"),
            "activity" if field.kind() == Kind::String => text("visit"),
            "request_id" | "order_number" | "activity_id" => {
                text(&format!("walk-{}", named.number))
            }
            "hold" => text(&ids.hold(FIRST)),
            "transaction" => text(&ids.transaction(FIRST)),
            "lot" => text(&ids.lot(LotPlace {
                shard: FIRST.shard,
                lot: LotId::new(FIRST.position, 1),
            })),
            "reason" => text("walk"),
            "reward" => text("ten-off"),
            "redemption" | "adjustment" => text("0195d3a0-0000-7000-8000-000000000000"),
            "currency_code" => text("USD"),
            "source" => {
                let program = format!("program: {}", named.program);
                let club = format!("program: {}", crate::harness::CLUB);
                text(&fealty_cli::demo::PROGRAM.replacen(&club, &program, 1))
            }
            "code" => {
                let program = named.program.parse().expect("an id");
                let whose = "somebody-else".parse().expect("an id");
                text(&ids.referral_code(&program, &whose))
            }
            "points" => Some(Value::I64(1)),
            "version" if message.name() == "WithdrawProgramRequest" => Some(Value::I64(9)),
            "minor_units" => Some(Value::I64(100)),
            // An issued account has a brand.
            "kind" => Some(Value::EnumNumber(
                fealty_proto::points::v1::AccountKind::Issued.into(),
            )),
            "account" | "amount" | "accrual" | "filter" | "purchase" | "request" => below(),
            // Of a lot: later than any; of a clock: where it stands.
            "expiry_time" => Some(timestamp(&field.kind(), 4_000_000_000)),
            "purchase_time" => Some(timestamp(&field.kind(), crate::harness::START_S)),
            "time" if message.name() == "SetTimeRequest" => {
                Some(timestamp(&field.kind(), crate::harness::START_S))
            }
            _ => None,
        };
        // Filters of lists are left alone but for the programme.
        let is_filter = message.name().ends_with("Filter") && field.name() != "program";
        if let Some(value) = value.filter(|_| !is_filter) {
            filled.set_field(&field, value);
        }
    }
    filled
}

fn timestamp(kind: &Kind, seconds: i64) -> Value {
    let Kind::Message(message) = kind else {
        panic!("a message");
    };
    let mut time = DynamicMessage::new(message.clone());
    time.set_field_by_name("seconds", Value::I64(seconds));
    Value::Message(time)
}
