//! The tiers service: the status that a member's purchases give
