//! Tests of tasks that have ended: who reads them, and what becomes of them when a process dies, a commit fails or the disk is full.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use domain::ports::Purgeable;
use domain::purge::{PurgeScope, Purged, first_request_at};
use domain::{
    FoundTask, KeyId, NewTask, ObjectOwner, RunTask, TaskContents, TaskId, TaskListQuery, TaskStatus,
    TaskStore,
};
use store::NewJob;
use store::fixtures::CommitFault;
use world::{DiskFault, FaultDisk, World};

use super::{RunTasks, SpoolSettings};
use crate::bench::{Bench, NOW, bench, project, workspace};

fn owner() -> ObjectOwner {
    ObjectOwner { workspace: workspace(1), project: project(1) }
}

fn id(number: u8) -> TaskId {
    TaskId::new(NOW, [number; 10])
}

fn finished(number: u8) -> NewTask {
    let key = KeyId::new(NOW, [1; 10]);
    let task = RunTask {
        status: TaskStatus::Completed,
        tries: 1,
        ended_unix_ms: Some(NOW),
        ..RunTask::queued((id(number), owner(), key), "publisher/model".to_owned(), (NOW, NOW + 60_000))
    };
    NewTask { task, contents: contents(number), open_max: None }
}

fn contents(number: u8) -> TaskContents {
    TaskContents {
        request: Some(Bytes::from_static(b"a request")),
        result: Some(Bytes::from(format!("result {number}"))),
        partial: None,
    }
}

fn no_job(owner: ObjectOwner, _: TaskId, unix_ms: u64) -> NewJob {
    NewJob {
        kind: "none",
        workspace: owner.workspace,
        name: None,
        payload: store::Json::Null,
        run_unix_ms: unix_ms,
        every_ms: None,
        unix_ms,
    }
}

fn everything() -> PurgeScope {
    let before = first_request_at(NOW + 1);
    PurgeScope { workspace: workspace(1), what: Purged::Everything, before }
}

fn dir(bench: &Bench) -> PathBuf {
    bench.dir.path().join("tasks")
}

fn tasks(bench: &Bench) -> Arc<RunTasks> {
    let spool = SpoolSettings { dir: dir(bench), is_on: true };
    RunTasks::start(&bench.store, bench.vault.clone(), bench.world.clone(), no_job, spool).unwrap()
}

/// What a process leaves that dies before it has stored anything.
fn leave(bench: &Bench, numbers: impl IntoIterator<Item = u8>) {
    let spool = super::TaskSpool::open(Arc::clone(&bench.world.disk), dir(bench)).unwrap();
    for NewTask { task, contents, .. } in numbers.into_iter().map(finished) {
        let seal = |part, content: Option<Bytes>| {
            runs::TaskContent::seal(&bench.vault, (task.owner, task.id), part, &content.unwrap()).unwrap()
        };
        let contents = vec![
            seal(runs::TaskPart::Request, contents.request),
            seal(runs::TaskPart::Result, contents.result),
        ];
        assert!(spool.add(&task, contents));
    }
}

fn files(bench: &Bench) -> usize {
    std::fs::read_dir(dir(bench)).unwrap().count()
}

async fn listed(tasks: &RunTasks) -> Vec<TaskId> {
    let query = TaskListQuery { owner: owner(), statuses: Vec::new(), app: None, after: None, limit: 100 };
    tasks.list(query).await.unwrap().into_iter().map(|(task, _)| task.id).collect()
}

#[tokio::test]
async fn whoever_reads_finds_what_ended_before() {
    let bench = bench().await;
    let tasks = tasks(&bench);
    for number in 1..=3 {
        tasks.keep(finished(number)).await.unwrap();
        let found = FoundTask::Known(Box::new((finished(number).task, contents(number))));
        assert_eq!(tasks.find(owner(), id(number)).await, found);
    }
    tasks.keep(finished(4)).await.unwrap();
    assert_eq!(listed(&tasks).await, [4, 3, 2, 1].map(id));
    tasks.keep(finished(5)).await.unwrap();
    assert!(tasks.rate(owner(), id(5), Some(4)).await);
    tasks.keep(finished(6)).await.unwrap();
    assert!(tasks.amend(owner(), id(6), Bytes::from_static(b"another")).await);
    assert_eq!(files(&bench), 0, "what is stored is in no file");
}

#[tokio::test]
async fn what_a_dead_process_left_is_stored_once_however_often_it_is_read() {
    let bench = bench().await;
    leave(&bench, 1..=3);
    let left = std::fs::read_dir(dir(&bench)).unwrap().next().unwrap().unwrap().path();
    let copy = std::fs::read(&left).unwrap();
    let first = tasks(&bench);
    assert_eq!(listed(&first).await, [3, 2, 1].map(id));
    first.stop().await;
    assert_eq!(files(&bench), 0);
    // It died after the commit and before the file was gone; and of another file the last write was cut.
    std::fs::write(&left, &copy).unwrap();
    leave(&bench, [4]);
    let cut = std::fs::read_dir(dir(&bench)).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let whole = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let second = tasks(&bench);
    assert_eq!(listed(&second).await, [3, 2, 1].map(id));
    let found = FoundTask::Known(Box::new((finished(2).task, contents(2))));
    assert_eq!(second.find(owner(), id(2)).await, found);
    assert_eq!(files(&bench), 0);
}

#[tokio::test]
async fn a_commit_that_fails_or_whose_answer_is_lost_is_made_again() {
    let bench = bench().await;
    let tasks = tasks(&bench);
    bench.store.commit_faults().script([CommitFault::Refused, CommitFault::AnswerLost]);
    tasks.keep(finished(1)).await.unwrap();
    tasks.keep(finished(2)).await.unwrap();
    assert_eq!(listed(&tasks).await, [2, 1].map(id));
}

#[tokio::test]
async fn what_was_purged_does_not_come_back() {
    let bench = bench().await;
    let first = tasks(&bench);
    first.keep(finished(1)).await.unwrap();
    assert!(first.purge(everything()).await.unwrap() > 0);
    assert_eq!(first.remaining(everything()).await.unwrap(), 0);
    first.stop().await;
    let second = tasks(&bench);
    assert_eq!(second.find(owner(), id(1)).await, FoundTask::Unknown);
}

/// A gateway that comes back must not bring what was purged elsewhere meanwhile, of that workspace.
#[tokio::test]
async fn what_was_purged_while_its_gateway_was_away_is_not_stored() {
    let bench = bench().await;
    leave(&bench, 1..=2);
    let text = format!(
        "INSERT INTO purge_jobs (id, workspace, target, state, requested_by, progress, created_unix_ms)
         VALUES (x'01', x'{}', '{{}}', 'completed', 'k', '{{}}', {NOW})",
        workspace(1).as_uuid().simple()
    );
    let purged = bench.store.database().note(move |writing| {
        Box::pin(async move { database::statement::compose(text).run(writing.connection()).await })
    });
    assert_eq!(purged.await.unwrap(), 1);
    let tasks = tasks(&bench);
    assert_eq!(listed(&tasks).await, []);
    assert_eq!(files(&bench), 0);
}

/// While the store takes no writes, what is in it can still be read, and nobody learns that a task is not there which only waits.
#[tokio::test]
async fn a_store_that_takes_no_writes_is_still_read() {
    let bench = bench().await;
    let tasks = tasks(&bench);
    tasks.keep(finished(1)).await.unwrap();
    assert_eq!(listed(&tasks).await, [id(1)]);
    bench.store.commit_faults().script([CommitFault::Refused; 200]);
    tasks.keep(finished(2)).await.unwrap();
    assert_eq!(listed(&tasks).await, [id(1)]);
    assert!(matches!(tasks.find(owner(), id(1)).await, FoundTask::Known(_)));
    assert_eq!(tasks.find(owner(), id(2)).await, FoundTask::StoreUnavailable);
    assert!(tasks.purge(everything()).await.is_err());
    bench.store.commit_faults().script([]);
    let stored = async { while tasks.find(owner(), id(2)).await == FoundTask::StoreUnavailable {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), stored).await.unwrap();
    assert!(matches!(tasks.find(owner(), id(2)).await, FoundTask::Known(_)));
}

#[tokio::test]
async fn what_is_not_ours_stays_and_keeps_nobody_from_starting() {
    let bench = bench().await;
    leave(&bench, 1..=1);
    let names = ["18446744073709551615.tasks", "+7.tasks", "notes.txt", "00000000000000000009.tasks"];
    for name in &names[..3] {
        std::fs::write(dir(&bench).join(name), b"not ours").unwrap();
    }
    std::fs::create_dir(dir(&bench).join(names[3])).unwrap();
    std::fs::write(dir(&bench).join("00000000000000000008.tasks"), b"tgtasks\x02of the next version")
        .unwrap();
    let tasks = tasks(&bench);
    assert_eq!(listed(&tasks).await, [id(1)]);
    tasks.keep(finished(2)).await.unwrap();
    assert_eq!(listed(&tasks).await, [2, 1].map(id));
    assert_eq!(files(&bench), names.len() + 1);
}

#[tokio::test]
async fn a_full_disk_lets_the_task_wait_for_the_database() {
    let mut bench = bench().await;
    let disk = FaultDisk::default();
    bench.world = World { disk: Arc::new(disk.clone()), ..bench.world };
    let tasks = tasks(&bench);
    disk.fail_writes(Some(DiskFault::NoSpace));
    tasks.keep(finished(1)).await.unwrap();
    assert!(matches!(tasks.find(owner(), id(1)).await, FoundTask::Known(_)));
    disk.fail_writes(None);
    tasks.keep(finished(2)).await.unwrap();
    assert_eq!(listed(&tasks).await, [2, 1].map(id));
}

#[tokio::test]
async fn a_crowd_is_stored_whole() {
    let bench = bench().await;
    let first = tasks(&bench);
    let many: Vec<_> = (0..1_300_u64).map(|number| TaskId::new(NOW + number, [9; 10])).collect();
    for id in &many {
        let NewTask { task, .. } = finished(1);
        let new = NewTask { task: RunTask { id: *id, ..task }, contents: contents(1), open_max: None };
        first.keep(new).await.unwrap();
    }
    for id in &many {
        assert!(matches!(first.find(owner(), *id).await, FoundTask::Known(_)), "{id}");
    }
    assert_eq!(files(&bench), 0);
}
