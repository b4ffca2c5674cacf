//! The generated gRPC code of Fealty's contracts, and nothing else.
//!
//! The contracts and their meaning stand in `proto/`; the modules here have
//! the same names.

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

/// The contracts' descriptors, encoded, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/fealty.descriptors"));

pub mod access {
    pub mod v1 {
        tonic::include_proto!("fealty.access.v1");
    }
}
pub mod operations {
    pub mod v1 {
        tonic::include_proto!("fealty.operations.v1");
    }
}
pub mod points {
    pub mod v1 {
        tonic::include_proto!("fealty.points.v1");
    }
}
pub mod program {
    pub mod v1 {
        tonic::include_proto!("fealty.program.v1");
    }
}
pub mod rewards {
    pub mod v1 {
        tonic::include_proto!("fealty.rewards.v1");
    }
}
pub mod tiers {
    pub mod v1 {
        tonic::include_proto!("fealty.tiers.v1");
    }
}
pub mod r#type {
    pub mod v1 {
        tonic::include_proto!("fealty.r#type.v1");
    }
}
