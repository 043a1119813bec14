//! The routes of `/v2` by which people and command lines sign in, who they are, and what a workspace is founded with.

mod devices;
mod founding;
mod limits;
mod me;
mod owner;
mod sign_in;

use api::router::Route;

pub use founding::{Founded, NewWorkspace, found, new_key};
pub use me::{checked_email, scope_names};
pub use owner::{OWNER_EMAIL, first_owner, mint_link, operators_workspace, owners_link};

/// The routes.
pub fn routes() -> Vec<Route> {
    [sign_in::routes(), me::routes(), devices::routes()].into_iter().flatten().collect()
}
