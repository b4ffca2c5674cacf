//! Who may call which RPC, as the contracts declare it.

use std::{collections::HashMap, sync::Arc};

use fealty_proto::access::v1 as wire;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::{Role, Roles};

/// The option of a method that declares it.
const OPTION: &str = "fealty.access.v1.access";
/// Services that everybody may call: they tell nothing but that we are there.
const OPEN: [&str; 1] = ["/grpc.health.v1.Health/"];

/// What tells the contracts.
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// What a call reaches; `fealty.access.v1.Scope` says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A member of a programme.
    Member,
    /// A programme.
    Program,
    /// A programme, or all.
    ProgramOrAll,
    /// The whole installation.
    Installation,
    /// What everybody in a programme may know.
    ProgramOpen,
}

/// Who may call an RPC, and what of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its full name, for example `fealty.points.v1.LedgerService/Accrue`.
    pub method: String,
    /// Whoever has one of these may.
    pub roles: Roles,
    /// What it reaches.
    pub scope: Scope,
    /// Whether it only reads.
    pub read_only: bool,
    /// Whether its answer is a stream.
    pub streams: bool,
}

/// Contracts that do not say who may call.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The descriptors cannot be read.
    #[error("the contracts cannot be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// Some RPCs say nothing, or not enough.
    #[error(
        "who may call is not declared: {}; each needs `option (fealty.access.v1.access)` with \
         roles and a scope", .0.join(", ")
    )]
    Undeclared(Vec<String>),
}

/// What is asked of a call before it is answered.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// Nothing.
    Open,
    /// That the caller is known: the contracts are told.
    Reflection,
    /// That the caller is known, to be told that there is no such RPC.
    Unknown,
    /// What the contracts declare.
    Declared(&'a Arc<Access>),
}

/// Who may call which RPC.
#[derive(Debug)]
pub struct AccessTable(HashMap<String, Arc<Access>>);

impl AccessTable {
    /// Reads what encoded contracts declare. Every RPC must.
    pub fn read(descriptors: &[u8]) -> Result<Self, AccessError> {
        let pool = DescriptorPool::decode(descriptors)?;
        let mut table = HashMap::new();
        let mut undeclared = Vec::new();
        for method in pool.services().flat_map(|service| {
            let methods: Vec<_> = service.methods().collect();
            methods
        }) {
            let name = format!("{}/{}", method.parent_service().full_name(), method.name());
            match declared(&pool, &method, &name) {
                Some(access) => {
                    table.insert(format!("/{name}"), Arc::new(access));
                }
                None => undeclared.push(name),
            }
        }
        if undeclared.is_empty() {
            Ok(Self(table))
        } else {
            Err(AccessError::Undeclared(undeclared))
        }
    }

    /// What is asked of a call to a path: `/package.Service/Method`.
    #[must_use]
    pub fn rule(&self, path: &str) -> Rule<'_> {
        if OPEN.iter().any(|open| path.starts_with(open)) {
            return Rule::Open;
        }
        if REFLECTION.iter().any(|known| path.starts_with(known)) {
            return Rule::Reflection;
        }
        self.0.get(path).map_or(Rule::Unknown, Rule::Declared)
    }

    /// Every declaration.
    pub fn iter(&self) -> impl Iterator<Item = &Access> {
        self.0.values().map(Arc::as_ref)
    }
}

fn declared(pool: &DescriptorPool, method: &MethodDescriptor, name: &str) -> Option<Access> {
    let option = pool.get_extension_by_name(OPTION)?;
    let options = method.options();
    if !options.has_extension(&option) {
        return None;
    }
    let value = options.get_extension(&option);
    let declared: wire::Access = value.as_message()?.transcode_to().ok()?;
    let roles = declared.roles().map(Role::of_wire);
    let roles: Roles = roles.collect::<Option<Vec<_>>>()?.into_iter().collect();
    let scope = match declared.scope() {
        wire::Scope::Unspecified => return None,
        wire::Scope::Member => Scope::Member,
        wire::Scope::Program => Scope::Program,
        wire::Scope::ProgramOrAll => Scope::ProgramOrAll,
        wire::Scope::Installation => Scope::Installation,
        wire::Scope::ProgramOpen => Scope::ProgramOpen,
    };
    (!roles.is_empty()).then(|| Access {
        method: name.to_owned(),
        roles,
        scope,
        read_only: declared.read_only,
        streams: method.is_server_streaming(),
    })
}

#[cfg(test)]
mod tests {
    use prost_reflect::{
        prost::Message as _,
        prost_types::{
            FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
        },
    };

    use super::*;

    #[test]
    fn every_rpc_of_the_contracts_is_declared() {
        let table = AccessTable::read(fealty_proto::FILE_DESCRIPTOR_SET).expect("declared");
        assert!(table.iter().count() > 30);
        let Rule::Declared(accrue) = table.rule("/fealty.points.v1.LedgerService/Accrue") else {
            panic!("it is declared");
        };
        assert!(accrue.roles.has(Role::Checkout) && !accrue.roles.has(Role::Member));
        assert_eq!((accrue.scope, accrue.read_only), (Scope::Member, false));
        assert!(matches!(
            table.rule("/grpc.health.v1.Health/Check"),
            Rule::Open
        ));
        assert!(matches!(
            table.rule("/no.such.Service/Method"),
            Rule::Unknown
        ));
    }

    #[test]
    fn a_new_rpc_without_a_declaration_is_named_and_no_other() {
        let forgotten = MethodDescriptorProto {
            name: Some("Forgotten".to_owned()),
            input_type: Some(".fealty.operations.v1.GetFeedStatusRequest".to_owned()),
            output_type: Some(".fealty.operations.v1.GetFeedStatusResponse".to_owned()),
            ..MethodDescriptorProto::default()
        };
        let service = ServiceDescriptorProto {
            name: Some("NewService".to_owned()),
            method: vec![forgotten],
            options: None,
        };
        let file = FileDescriptorProto {
            name: Some("fealty/operations/v1/new_service.proto".to_owned()),
            package: Some("fealty.operations.v1".to_owned()),
            dependency: vec!["fealty/operations/v1/feed_service.proto".to_owned()],
            service: vec![service],
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        };
        // Two encoded sets in a row are the set of the files of both.
        let mut contracts = fealty_proto::FILE_DESCRIPTOR_SET.to_vec();
        contracts.extend(FileDescriptorSet { file: vec![file] }.encode_to_vec());
        let error = AccessTable::read(&contracts).expect_err("refused");
        let AccessError::Undeclared(undeclared) = error else {
            panic!("{error}");
        };
        assert_eq!(undeclared, ["fealty.operations.v1.NewService/Forgotten"]);
    }
}
