//! No plan has an attempt that a policy forbids, and none refuses one for a policy that allows it: compared with an
//! oracle of its own, over generated workspaces, routes and policies. `POLICY_CASES` sets how many.

use std::sync::Arc;

use domain::{
    Agreement, DataBoundary, Policies, Policy, PolicyId, PolicySpec, Principal, Profile, ProjectId,
    RegionPolicy, Retention,
};
use proptest::prelude::*;
use snapshot::ProjectEntry;

use crate::fixture::{Fixture, project_id};
use crate::properties::{MODELS, any_fixture};

const CASES: u32 = 1_000;
const REGIONS: [&str; 5] = ["eu-west-1", "US-EAST-1", "westeurope", "eu-west-2", "mars"];
/// What the oracle knows of regions, apart from the lists of the code.
const IN_EU: [&str; 3] = ["eu-west-1", "westeurope", "eu"];
const IN_US: [&str; 2] = ["us-east-1", "us"];

/// What is stated of a seat.
#[derive(Debug, Clone)]
struct Stated {
    region: Option<&'static str>,
    retention: Option<Retention>,
    hipaa: bool,
}

fn stated() -> impl Strategy<Value = Stated> {
    let region = proptest::option::of(proptest::sample::select(REGIONS.as_slice()));
    let retention =
        proptest::option::of(prop_oneof![Just(Retention::Zero), (1_u32..60).prop_map(Retention::Days)]);
    (region, retention, any::<bool>()).prop_map(|(region, retention, hipaa)| Stated {
        region,
        retention,
        hipaa,
    })
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let chosen = proptest::sample::subsequence(names.to_vec(), 0..=names.len());
    prop_oneof![
        2 => Just(Vec::new()),
        1 => chosen.prop_map(|names| names.into_iter().map(str::to_owned).collect()),
    ]
}

prop_compose! {
    fn spec()(
        providers in some_of(&["openai", "nebius", "together_ai", "openrouter", "own", "anthropic", "byoc"]),
        models in some_of(&["openai/", "openai/gpt-4o", "meta-llama/*", "acme/twin", "m", "own/x"]),
        regions in some_of(&["eu-west-1", "us-east-1", "mars", "eu"]),
        region_policy in proptest::sample::select(RegionPolicy::ALL.to_vec()),
        data_boundary in proptest::sample::select(DataBoundary::ALL.to_vec()),
        profiles in proptest::sample::subsequence(vec![Profile::Byok, Profile::Byoc, Profile::ManagedProvider], 0..=3),
        retention in proptest::option::of(prop_oneof![Just(Retention::Zero), (1_u32..60).prop_map(Retention::Days)]),
        hipaa in any::<bool>(),
        open in any::<bool>(),
    ) -> PolicySpec {
        // Half of the policies say little, so that plans are left.
        PolicySpec {
            providers,
            models: if open { Vec::new() } else { models },
            regions: if open { Vec::new() } else { regions },
            region_policy: if open { RegionPolicy::Any } else { region_policy },
            data_boundary,
            profiles: if open { Vec::new() } else { profiles },
            retention: retention.filter(|_| !open),
            compliance: if hipaa && !open { vec!["hipaa".to_owned()] } else { Vec::new() },
            ..PolicySpec::default()
        }
    }
}

fn with_policies(mut fixture: Fixture, specs: [Option<PolicySpec>; 2], seats: &[Stated]) -> Fixture {
    let [workspace, project] = specs;
    let policy = |number: u64, project: Option<ProjectId>, spec| {
        Arc::new(Policy { id: PolicyId::new(number, [8; 10]), project, spec })
    };
    let workspace = workspace.map(|spec| policy(1, None, spec));
    let project = project.map(|spec| policy(2, Some(project_id(1)), spec));
    let entry =
        ProjectEntry { policy: Policies::of(workspace, project), ..(*fixture.workspace.projects[0]).clone() };
    fixture.workspace.projects = vec![Arc::new(entry)];
    let mut seats = seats.iter().cycle();
    let agreement = |stated: &Stated| {
        Arc::new(Agreement {
            retention: stated.retention,
            compliance: if stated.hipaa { vec!["hipaa".to_owned()] } else { Vec::new() },
            ..Agreement::default()
        })
    };
    for credential in &mut fixture.workspace.credentials {
        let (stated, entry) = (seats.next().unwrap(), Arc::make_mut(credential));
        entry.region = stated.region.map(Into::into);
        entry.agreement = agreement(stated);
    }
    for account in &mut fixture.accounts {
        let (stated, entry) = (seats.next().unwrap(), Arc::make_mut(account));
        entry.region = stated.region.map(Into::into);
        entry.agreement = agreement(stated);
    }
    for node in &mut fixture.workspace.nodes {
        let labels = seats.next().unwrap().region.iter().map(|region| format!("region={region}")).collect();
        Arc::make_mut(node).labels = Arc::new(labels);
    }
    fixture
}

/// The oracle: what a seat is, read from the configuration alone.
struct Place {
    provider: String,
    profile: Profile,
    regions: Vec<String>,
    agreement: Option<Agreement>,
}

fn place(fixture: &Fixture, principal: Principal, model: &str) -> Place {
    let slug = |name: &str| if name == "together" { "together_ai".to_owned() } else { name.to_owned() };
    let regions = |region: Option<&str>, provider: &str| match region {
        Some(region) => vec![region.to_owned()],
        None if model == "openai/regional" && provider == "openai" => vec!["eu".to_owned(), "us".to_owned()],
        None => Vec::new(),
    };
    match principal {
        Principal::Credential(_) | Principal::Subscription(_) => {
            let id = principal.own_credential().unwrap();
            let one = fixture.workspace.credentials.iter().find(|one| one.id == id).unwrap();
            Place {
                provider: slug(&one.provider),
                profile: principal.profile(),
                regions: regions(one.region.as_deref(), &one.provider),
                agreement: Some((*one.agreement).clone()),
            }
        }
        Principal::Account(id) => {
            let one = fixture.accounts.iter().find(|one| one.id == id).unwrap();
            Place {
                provider: slug(&one.provider),
                profile: Profile::ManagedProvider,
                regions: regions(one.region.as_deref(), &one.provider),
                agreement: Some((*one.agreement).clone()),
            }
        }
        Principal::Node(id) => {
            let one = fixture.workspace.nodes.iter().find(|one| one.id == id).unwrap();
            let regions =
                one.labels.iter().map(|label| label.trim_start_matches("region=").to_owned()).collect();
            Place { provider: "byoc".to_owned(), profile: Profile::Byoc, regions, agreement: None }
        }
    }
}

fn is_allowed(spec: &PolicySpec, place: &Place, model: &str) -> bool {
    let regions: Vec<String> = place.regions.iter().map(|region| region.to_lowercase()).collect();
    let within =
        |known: &[&str]| !regions.is_empty() && regions.iter().all(|one| known.contains(&one.as_str()));
    let in_world = match spec.region_policy {
        RegionPolicy::UsOnly => within(&IN_US),
        RegionPolicy::EuOnly => within(&IN_EU),
        RegionPolicy::Global | RegionPolicy::Any => true,
    };
    let listed: Vec<&str> = spec.regions.iter().map(String::as_str).collect();
    let model_fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => model.starts_with(prefix),
        None if pattern.ends_with('/') => model.starts_with(pattern.as_str()),
        None => model == pattern,
    };
    let kept = match (spec.retention, place.agreement.as_ref().map(|agreement| agreement.retention)) {
        (None, _) | (_, None) | (_, Some(Some(Retention::Zero))) => true,
        (Some(Retention::Days(most)), Some(Some(Retention::Days(days)))) => days <= most,
        _ => false,
    };
    let complies = place
        .agreement
        .as_ref()
        .is_none_or(|agreement| spec.compliance.iter().all(|tag| agreement.compliance.contains(tag)));
    let last_resort = place.profile == Profile::ManagedProvider && place.provider == "openrouter";
    (spec.providers.is_empty() || spec.providers.contains(&place.provider))
        && (spec.models.is_empty() || spec.models.iter().any(model_fits))
        && (spec.profiles.is_empty() || spec.profiles.contains(&place.profile))
        && (listed.is_empty() || within(&listed))
        && in_world
        && kept
        && complies
        && !(last_resort && spec.data_boundary != DataBoundary::Project)
}

fn cases() -> u32 {
    std::env::var("POLICY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn no_attempt_goes_where_a_policy_forbids_it(
        fixture in any_fixture(),
        specs in [proptest::option::of(spec()), proptest::option::of(spec())],
        seats in proptest::collection::vec(stated(), 7),
    ) {
        let layers: Vec<PolicySpec> = specs.iter().flatten().cloned().collect();
        let fixture = with_policies(fixture, specs, &seats);
        for model in MODELS.iter().chain(&["openai/regional"]) {
            let answer = fixture.ask_for(model, None);
            let Some(resolved) = answer.resolved_model.as_deref() else { continue };
            for attempt in &answer.attempts {
                let place = place(&fixture, attempt.principal, resolved);
                for spec in &layers {
                    prop_assert!(is_allowed(spec, &place, resolved), "{resolved} at {:?}: {spec:?}", attempt.principal);
                }
            }
            for rejected in answer.rejected.iter().filter(|one| one.reason == "policy_forbids") {
                let place = place(&fixture, rejected.principal, resolved);
                prop_assert!(
                    layers.iter().any(|spec| !is_allowed(spec, &place, resolved)),
                    "{resolved} at {:?} is allowed: {layers:?}", rejected.principal
                );
            }
        }
    }
}
