//! SQL for sessions, one-time links and sign-in attempts.

use database::act::Act;
use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{MemberId, WorkspaceId};

use crate::people::MemberRow;
use crate::sign_ins::{
    LinkRow, Redeemed, Redeemer, SignInRow, SignInTraces, SignIns, SignedIn, TokenDigest, Tries,
};
use crate::sql::{people, resource};

macro_rules! count_tries {
    ($triers:literal) => {
        concat!(
            "INSERT INTO sign_in_tries (trier, tries, since_unix_ms) VALUES ",
            $triers,
            " ON CONFLICT (trier) DO UPDATE SET
                tries = CASE WHEN sign_in_tries.since_unix_ms > $2 THEN sign_in_tries.tries + 1 ELSE 1 END,
                since_unix_ms = CASE WHEN sign_in_tries.since_unix_ms > $2
                    THEN sign_in_tries.since_unix_ms ELSE excluded.since_unix_ms END
              RETURNING trier, tries, since_unix_ms"
        )
    };
}
const COUNT_ONE: &str = count_tries!("($3, 1, $1)");
const COUNT_TWO: &str = count_tries!("($3, 1, $1), ($4, 1, $1)");

fn read(row: &Row) -> Result<SignInRow, StoreError> {
    let fields = Fields::new("sign_ins", row);
    Ok(SignInRow {
        digest: fields.digest("digest")?,
        person: fields.id("person")?,
        by_link: fields.flag("by_link")?,
        address: fields.text("address")?,
        agent: fields.text("agent")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        used_unix_ms: fields.number("used_unix_ms")?,
        expires_unix_ms: fields.number("expires_unix_ms")?,
    })
}

async fn find(connection: &mut Connection, digest: TokenDigest) -> Result<Option<SignedIn>, StoreError> {
    let query = sql("SELECT * FROM sign_ins WHERE digest = $1").bind(digest.to_vec());
    let Some(row) = query.row(&mut *connection).await? else { return Ok(None) };
    let session = read(&row)?;
    let Some(person) = people::person(connection, session.person).await? else { return Ok(None) };
    let memberships = people::memberships(connection, session.person).await?;
    Ok(Some(SignedIn { session, person, memberships }))
}

pub(super) async fn insert(writing: &mut Writing, row: &SignInRow) -> Result<(), StoreError> {
    // Expired sessions are deleted at each sign-in, so that they don't accumulate.
    sql("DELETE FROM sign_ins WHERE person = $1 AND expires_unix_ms <= $2")
        .bind(row.person.bytes())
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    let query = sql(
        "INSERT INTO sign_ins (digest, person, by_link, address, agent, created_unix_ms, used_unix_ms, expires_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    );
    query
        .bind(row.digest.to_vec())
        .bind(row.person.bytes())
        .bind(i64::from(row.by_link))
        .bind(&row.address)
        .bind(&row.agent)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.used_unix_ms))
        .bind(signed(row.expires_unix_ms))
        .run(writing.connection())
        .await?;
    Ok(())
}

async fn delete(writing: &mut Writing, digest: Option<TokenDigest>) -> Result<(), StoreError> {
    let Some(digest) = digest else { return Ok(()) };
    let query = sql("DELETE FROM sign_ins WHERE digest = $1").bind(digest.to_vec());
    query.run(writing.connection()).await?;
    Ok(())
}

pub(super) async fn insert_link(
    writing: &mut Writing,
    link: &LinkRow,
    unix_ms: u64,
) -> Result<(), StoreError> {
    sql("DELETE FROM sign_in_links WHERE expires_unix_ms <= $1")
        .bind(signed(unix_ms))
        .run(writing.connection())
        .await?;
    sql("INSERT INTO sign_in_links (digest, person, workspace, expires_unix_ms) VALUES ($1, $2, $3, $4)")
        .bind(link.digest.to_vec())
        .bind(link.person.bytes())
        .bind(link.workspace.map(|id| id.bytes()))
        .bind(signed(link.expires_unix_ms))
        .run(writing.connection())
        .await?;
    Ok(())
}

async fn find_link(writing: &mut Writing, digest: TokenDigest) -> Result<Option<LinkRow>, StoreError> {
    let query = sql("SELECT * FROM sign_in_links WHERE digest = $1").bind(digest.to_vec());
    let row = query.row(writing.connection()).await?;
    let read = |row: Row| {
        let fields = Fields::new("sign_in_links", &row);
        Ok(LinkRow {
            digest: fields.digest("digest")?,
            person: fields.id("person")?,
            workspace: fields.maybe_id("workspace")?,
            expires_unix_ms: fields.number("expires_unix_ms")?,
        })
    };
    row.map(read).transpose()
}

/// The person whom a workspace's link signs in, and whether another workspace knows them too. `None` if they
/// must sign in first.
async fn whom(
    writing: &mut Writing,
    link: &LinkRow,
    workspace: WorkspaceId,
    redeemer: Redeemer,
) -> Result<Option<(MemberId, bool)>, StoreError> {
    let known_elsewhere = people::is_known_elsewhere(writing, link.person, workspace).await?;
    if redeemer == Redeemer::Known(link.person) {
        return Ok(Some((link.person, known_elsewhere)));
    }
    if known_elsewhere {
        return Ok(None);
    }
    let invited = resource::find::<MemberRow>(writing.connection(), workspace, link.person).await?;
    if invited.accepted_unix_ms.is_some() || redeemer == Redeemer::New {
        return Ok(Some((link.person, false)));
    }
    let namesakes = people::namesakes(writing, link.person).await?;
    match redeemer {
        Redeemer::Known(person) if namesakes.contains(&person) => {
            people::take_over(writing, workspace, link.person, person).await?;
            Ok(Some((person, true)))
        }
        _ if namesakes.is_empty() => Ok(Some((link.person, false))),
        _ => Ok(None),
    }
}

async fn redeem(
    writing: &mut Writing,
    digest: TokenDigest,
    redeemer: Redeemer,
    fresh: SignInRow,
    replaces: Option<TokenDigest>,
    act: Act,
) -> Result<Redeemed, StoreError> {
    let Some(link) = find_link(writing, digest).await?.filter(|link| link.expires_unix_ms > act.unix_ms)
    else {
        return Ok(Redeemed::Unknown);
    };
    let (mut person, mut joined) = (link.person, false);
    if let Some(workspace) = link.workspace {
        let Some((whom, known_elsewhere)) = whom(writing, &link, workspace, redeemer).await? else {
            return Ok(Redeemed::SignInFirst);
        };
        person = whom;
        joined = people::accept(writing, person, workspace, act.unix_ms).await? && known_elsewhere;
    }
    let query = sql("DELETE FROM sign_in_links WHERE digest = $1").bind(digest.to_vec());
    query.run(writing.connection()).await?;
    delete(writing, replaces).await?;
    if joined {
        // A session that someone of the other workspace may have started must not gain access to this one.
        let query = sql("DELETE FROM sign_ins WHERE person = $1").bind(person.bytes());
        query.run(writing.connection()).await?;
    }
    insert(writing, &SignInRow { person, ..fresh }).await?;
    let detail = if joined { "by a link, and joined" } else { "by a link" };
    let first = people::memberships(writing.connection(), person).await?.first().map(|m| m.workspace);
    writing.audit(&act, link.workspace.or(first), "sign_in.start", person, detail.to_owned()).await?;
    Ok(Redeemed::By(person))
}

async fn count_tries(
    writing: &mut Writing,
    trier: TokenDigest,
    other: Option<TokenDigest>,
    window_ms: u64,
    now_unix_ms: u64,
) -> Result<Vec<(TokenDigest, Tries)>, StoreError> {
    let query = sql(if other.is_some() { COUNT_TWO } else { COUNT_ONE });
    let query = query.bind(signed(now_unix_ms)).bind(signed(now_unix_ms.saturating_sub(window_ms)));
    let query = query.bind(trier.to_vec());
    let query = match other {
        Some(other) => query.bind(other.to_vec()),
        None => query,
    };
    let read = |row: &Row| {
        let fields = Fields::new("sign_in_tries", row);
        let tries = Tries { count: fields.number("tries")?, since_unix_ms: fields.number("since_unix_ms")? };
        Ok((fields.digest("trier")?, tries))
    };
    query.rows(writing.connection()).await?.iter().map(read).collect()
}

impl SignIns<'_> {
    /// Starts a session and ends the one that it `replaces`. The audit entry goes to `workspace`.
    pub async fn start(
        self,
        session: SignInRow,
        replaces: Option<TokenDigest>,
        workspace: Option<WorkspaceId>,
        act: Act,
    ) -> Result<(), StoreError> {
        let work = self.0.write(move |writing| {
            Box::pin(async move {
                delete(writing, replaces).await?;
                insert(writing, &session).await?;
                let detail = "by password".to_owned();
                writing.audit(&act, workspace, "sign_in.start", session.person, detail).await
            })
        });
        work.await.map(|written| written.row)
    }

    pub async fn find(self, digest: TokenDigest) -> Result<Option<SignedIn>, StoreError> {
        find(&mut self.0.read().await?, digest).await
    }

    pub async fn traces(self, person: MemberId) -> Result<SignInTraces, StoreError> {
        let query = sql("SELECT (SELECT COUNT(*) FROM sign_in_links WHERE person = $1) AS links,
                     (SELECT COUNT(*) FROM sign_ins WHERE person = $1)
                     + (SELECT COUNT(*) FROM people WHERE id = $1 AND password_hash IS NOT NULL) AS signed");
        let row = query.bind(person.bytes()).one(&mut self.0.read().await?).await?;
        let fields = Fields::new("sign_ins", &row);
        let (links, signed) = (fields.number("links")?, fields.number("signed")?);
        Ok(SignInTraces { has_link: links > 0, signed_in: signed > 0 })
    }

    pub async fn touch(self, digest: TokenDigest, unix_ms: u64) -> Result<(), StoreError> {
        let work = self.0.write(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE sign_ins SET used_unix_ms = $2 WHERE digest = $1");
                let query = query.bind(digest.to_vec()).bind(signed(unix_ms));
                query.run(writing.connection()).await?;
                Ok(())
            })
        });
        work.await.map(|written| written.row)
    }

    pub async fn end(
        self,
        digest: TokenDigest,
        workspace: Option<WorkspaceId>,
        act: Act,
    ) -> Result<(), StoreError> {
        let work = self.0.write(move |writing| {
            Box::pin(async move {
                delete(writing, Some(digest)).await?;
                writing.audit(&act, workspace, "sign_in.end", &act.actor, String::new()).await
            })
        });
        work.await.map(|written| written.row)
    }

    /// Consumes a link and starts the session `fresh` for the link's person, or for the redeemer if another
    /// workspace knows them under the invited address.
    pub async fn redeem(
        self,
        link: TokenDigest,
        redeemer: Redeemer,
        fresh: SignInRow,
        replaces: Option<TokenDigest>,
        act: Act,
    ) -> Result<Redeemed, StoreError> {
        let work =
            self.0.write(move |writing| Box::pin(redeem(writing, link, redeemer, fresh, replaces, act)));
        work.await.map(|written| written.row)
    }

    /// Counts an attempt of one subject, or of two at once, before it is made, and returns the counts. A
    /// single statement, so that replicas are serialised. An expired window restarts.
    pub async fn count_tries(
        self,
        trier: TokenDigest,
        other: Option<TokenDigest>,
        window_ms: u64,
        now_unix_ms: u64,
    ) -> Result<Vec<(TokenDigest, Tries)>, StoreError> {
        self.0.note(move |writing| Box::pin(count_tries(writing, trier, other, window_ms, now_unix_ms))).await
    }

    pub async fn forget_tries(self, trier: TokenDigest) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("DELETE FROM sign_in_tries WHERE trier = $1").bind(trier.to_vec());
                    query.run(writing.connection()).await.map(|_| ())
                })
            })
            .await
    }

    /// Deletes counts whose window started before this moment; returns how many.
    pub async fn forget_tries_before(self, unix_ms: u64) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query =
                        sql("DELETE FROM sign_in_tries WHERE since_unix_ms < $1").bind(signed(unix_ms));
                    query.run(writing.connection()).await
                })
            })
            .await
    }
}
