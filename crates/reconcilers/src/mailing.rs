//! Events as mail to members of a workspace.

use domain::{MemberId, WorkspaceId};
use mail::{Letter, MailError, MailSettings};
use store::{EventRow, MemberRow, StoreError, WebhookRow};

use crate::Deps;
use crate::notices::Notice;

/// How mail is sent, and where its readers find the rest.
#[derive(Debug)]
pub struct Mailing {
    pub settings: MailSettings,
    /// The origin of the console.
    pub console: String,
}

impl Mailing {
    fn letter(&self, event: &EventRow, to: String) -> Letter {
        let Notice { headline, details } = Notice::of(event);
        let details = if details.is_empty() { details } else { format!("{details}\n\n") };
        let console = &self.console;
        let text = format!(
            "{headline}.\n\n{details}Alerts: {console}/alerts\n\n\
             --\nThis mail was sent because a webhook of your workspace sends events to you. \
             {console}/webhooks changes or removes it.\n"
        );
        Letter { id: event.id.to_string(), to, subject: headline, text }
    }
}

/// Whether a mail was taken.
pub enum Mailed {
    Taken,
    /// It is tried again.
    Refused(MailError),
    /// The receiver is no longer a member, or never accepted.
    NoMember,
}

impl Deps {
    /// The member who receives a webhook's mail; `None` if they left.
    ///
    /// # Errors
    /// The database is away.
    pub async fn mail_receiver(
        &self,
        workspace: WorkspaceId,
        id: MemberId,
    ) -> Result<Option<MemberRow>, StoreError> {
        match self.store.people().get(workspace, id).await {
            Ok(member) => Ok(Some(member).filter(|member| member.accepted_unix_ms.is_some())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn mail_event(&self, webhook: &WebhookRow, event: &EventRow) -> Mailed {
        let refused =
            |message: &str| Mailed::Refused(MailError { status: None, message: message.to_owned() });
        let Some(mail) = &self.mail else { return refused("the operator has set no mail server") };
        let Ok(id) = webhook.url.parse() else { return Mailed::NoMember };
        match self.mail_receiver(webhook.workspace, id).await {
            Ok(Some(member)) => match mail.settings.send(mail.letter(event, member.person.email)).await {
                Ok(()) => Mailed::Taken,
                Err(error) => Mailed::Refused(error),
            },
            Ok(None) => Mailed::NoMember,
            Err(_) => refused("the database is away"),
        }
    }
}
