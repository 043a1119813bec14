//! Answers the messages of a proxy without a connection, for the fuzz targets.

use std::rc::Rc;

use prost::Message;
use world::World;

use crate::exchange::{Budget, Exchange, Next};
use crate::framing::{Messages, frame};
use crate::pool::Pool;
use crate::prefix;
use crate::settings::Shedding;
use crate::wire::{HealthCheckRequest, ProcessingRequest};

/// What a stream was answered that arrived in these pieces, to a pool without endpoints, and the status that ended it.
pub fn answers<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<u16>) {
    let pool = Pool::new(World::system(), Shedding { waiting: 1, kv_permille: 900 }, 1);
    let mut exchange = Exchange::new(Rc::new(pool), Rc::from([]), Budget::default());
    let (mut messages, mut answers) = (Messages::default(), Vec::new());
    for piece in pieces {
        messages.push(piece);
        loop {
            let message = match messages.next() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(status) => return (answers, Some(status.code)),
            };
            let _ = HealthCheckRequest::decode(message.clone());
            let Ok(request) = ProcessingRequest::decode(message) else { return (answers, Some(3)) };
            match exchange.take(request) {
                Ok(Next::Answers(more)) => answers.extend(more.iter().map(|one| frame(one).to_vec())),
                Ok(Next::Last(last)) => {
                    answers.push(frame(&*last).to_vec());
                    return (answers, Some(0));
                }
                Err(status) => return (answers, Some(status.code)),
            }
        }
    }
    (answers, None)
}

/// The ends of a prompt's parts in a body, as hashes and bytes.
pub fn ends_of_prompt(body: &[u8]) -> Vec<(u64, u64)> {
    prefix::read(body).ends
}
