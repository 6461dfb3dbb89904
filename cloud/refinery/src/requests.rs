//! What clients may ask for, whichever way they come, a file a subject. A request is checked by the project's machine,
//! stored, and reported as an event; what it needs the warden for waits in the scheduler's queue.

mod list;
mod members;
mod models;
mod projects;
pub(crate) mod queries;
mod rounds;
mod status;
pub(crate) mod uploads;
mod warden;
