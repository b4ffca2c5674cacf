//! Deleting what is personal, on the wire.

use fealty_proto::points::v1::{self as wire, personal_data_service_server::PersonalDataService};
use fealty_server::{Fields, caller};
use tonic::{Request, Response, Status, async_trait};

use super::Erasure;

pub(crate) struct PersonalDataApi(pub(crate) Erasure);

#[async_trait]
impl PersonalDataService for PersonalDataApi {
    async fn erase_personal_data(
        &self,
        request: Request<wire::ErasePersonalDataRequest>,
    ) -> Result<Response<wire::ErasePersonalDataResponse>, Status> {
        let caller = caller(&request)?;
        let (program, member) = Fields::read(caller, |fields| {
            let request = request.get_ref();
            let program = fields.program("program", &request.program);
            let member = fields.member("member", program.as_ref(), &request.member);
            program.zip(member)
        })?;
        let values = self.0.erase(caller, &program, &member).await?;
        Ok(Response::new(wire::ErasePersonalDataResponse { values }))
    }
}
