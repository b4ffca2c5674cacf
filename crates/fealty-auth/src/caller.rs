//! Who calls, and what of a request that caller reaches.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use fealty_types::{BrandId, MemberId, ProgramId, Subject};

use crate::{Access, Identity, Programs, Role, Roles};

/// An id that the caller reaches: a programme, a member or a brand. Only a
/// [`Caller`] makes one, so what takes it cannot be asked for anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InReach<T>(T);

impl<T> InReach<T> {
    /// The id alone.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for InReach<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Display> fmt::Display for InReach<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a caller does not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of the caller's reach")]
pub struct OutOfReach;

/// Members of whom a call told something.
#[derive(Debug, Default)]
pub struct Touched {
    members: Mutex<Vec<(ProgramId, MemberId)>>,
    /// The change that the call made is in the audit log by itself.
    recorded: AtomicBool,
}

impl Touched {
    /// Takes them out, each once; none, if the call's change is recorded.
    #[must_use]
    pub fn take(&self) -> Vec<(ProgramId, MemberId)> {
        if self.recorded.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut members = self
            .members
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut taken = std::mem::take(&mut *members);
        taken.sort_unstable();
        taken.dedup();
        taken
    }
}

/// Who makes a call, and for whom.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Arc<Identity>,
    access: Option<Arc<Access>>,
    acting_for: Option<Subject>,
    touched: Option<Arc<Touched>>,
}

/// Roles of people, whose every change is recorded.
const PEOPLE: [Role; 4] = [Role::Operator, Role::Finance, Role::Support, Role::Auditor];

impl Caller {
    /// One who acts for nobody else. `access` is what the RPC declares that is
    /// called.
    #[must_use]
    pub fn new(identity: Arc<Identity>, access: Option<Arc<Access>>) -> Self {
        Self {
            identity,
            access,
            acting_for: None,
            touched: None,
        }
    }

    /// The same, acting for somebody.
    #[must_use]
    pub fn acting_for(mut self, whom: Subject) -> Self {
        self.acting_for = Some(whom);
        self
    }

    /// The same, with whom it reads noted.
    #[must_use]
    pub fn noting(mut self, touched: Arc<Touched>) -> Self {
        self.touched = Some(touched);
        self
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The token's subject.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.identity.subject
    }

    /// The full name of what it calls.
    #[must_use]
    pub fn method(&self) -> &str {
        self.access.as_ref().map_or("", |access| &access.method)
    }

    /// Whether it calls as a person may: by a role of people. What people change is
    /// written to the audit log.
    #[must_use]
    pub fn is_person(&self) -> bool {
        let declared = self
            .access
            .as_ref()
            .map_or(Roles::ALL, |access| access.roles);
        let roles = self.roles().and(declared);
        !self.identity.is_anybody && PEOPLE.into_iter().any(|role| roles.has(role))
    }

    /// Notes that what the call changed is in the audit log, with its members.
    pub fn mark_recorded(&self) {
        if let Some(touched) = &self.touched {
            touched.recorded.store(true, Ordering::Relaxed);
        }
    }

    /// For whom it acts, if for somebody else.
    #[must_use]
    pub fn whom(&self) -> Option<&Subject> {
        self.acting_for.as_ref()
    }

    /// What it is.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.identity.roles
    }

    /// Whether it has a role.
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.identity.roles.has(role)
    }

    /// Whether nothing of the installation is kept from it.
    #[must_use]
    pub fn reaches_all(&self) -> bool {
        let Identity {
            programs,
            brands,
            member,
            ..
        } = &*self.identity;
        *programs == Programs::All && brands.is_none() && member.is_none()
    }

    /// A programme, if it reaches it.
    pub fn program(&self, program: ProgramId) -> Result<InReach<ProgramId>, OutOfReach> {
        match &self.identity.programs {
            Programs::Named(named) if !named.contains(&program) => Err(OutOfReach),
            _ => Ok(InReach(program)),
        }
    }

    /// The programmes it reaches; `None` for all.
    #[must_use]
    pub fn programs(&self) -> Option<Vec<InReach<ProgramId>>> {
        match &self.identity.programs {
            Programs::All => None,
            Programs::Named(named) => Some(named.iter().cloned().map(InReach).collect()),
        }
    }

    /// A member of a programme, if it reaches both.
    pub fn member(
        &self,
        program: &InReach<ProgramId>,
        member: MemberId,
    ) -> Result<InReach<MemberId>, OutOfReach> {
        if !self.reaches_member(program, &member) {
            return Err(OutOfReach);
        }
        Ok(InReach(member))
    }

    /// A brand, if it speaks for it.
    pub fn brand(&self, brand: BrandId) -> Result<InReach<BrandId>, OutOfReach> {
        match &self.identity.brands {
            Some(named) if !named.contains(&brand) => Err(OutOfReach),
            _ => Ok(InReach(brand)),
        }
    }

    /// The brands it is kept to, if it is.
    #[must_use]
    pub fn brands(&self) -> Option<&[BrandId]> {
        self.identity.brands.as_deref()
    }

    /// Whether it reaches a member of whom something is to be told; noted, where
    /// that is recorded.
    #[must_use]
    pub fn reaches_member(&self, program: &ProgramId, member: &MemberId) -> bool {
        if self
            .identity
            .member
            .as_ref()
            .is_some_and(|own| own != member)
        {
            return false;
        }
        if let Some(touched) = &self.touched {
            let mut members = touched
                .members
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            members.push((program.clone(), member.clone()));
        }
        true
    }
}
