//! What the Kubernetes manifests promise: read as they are, checked one by one.

use std::{fs, path::PathBuf};

use serde_json::Value;

fn base() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../k8s/base")
}

/// The documents of the base, each with its kind.
fn documents() -> Vec<Value> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(base()).expect("the base is there") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("it is text");
        for document in text.split("\n---\n") {
            let parsed: Value = serde_saphyr::from_str(document)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            documents.push(parsed);
        }
    }
    documents
}

fn of_kind(kind: &str) -> Vec<Value> {
    documents()
        .into_iter()
        .filter(|document| document["kind"] == kind)
        .collect()
}

#[test]
fn every_pod_is_confined() {
    let pods: Vec<Value> = ["Deployment", "Job"]
        .iter()
        .flat_map(|kind| of_kind(kind))
        .collect();
    assert_eq!(pods.len(), 6);
    for pod in pods {
        let spec = &pod["spec"]["template"]["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false, "{pod}");
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{pod}");
        assert_eq!(
            spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{pod}"
        );
        for container in spec["containers"].as_array().expect("containers") {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{pod}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{pod}");
            assert_eq!(context["capabilities"]["drop"][0], "ALL", "{pod}");
            for part in ["requests", "limits"] {
                assert!(container["resources"][part]["memory"].is_string(), "{pod}");
                assert!(container["resources"][part]["cpu"].is_string(), "{pod}");
            }
        }
    }
}

#[test]
fn every_service_is_probed_budgeted_and_fenced() {
    let budgets = of_kind("PodDisruptionBudget");
    let policies = of_kind("NetworkPolicy");
    let services = of_kind("Service");
    for deployment in of_kind("Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let port = &container["ports"][0]["containerPort"];
        for probe in ["startupProbe", "readinessProbe"] {
            assert_eq!(container[probe]["grpc"]["port"], *port, "{deployment}");
        }
        assert!(container["livenessProbe"].is_object(), "{deployment}");
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let name = &labels["app.kubernetes.io/name"];
        let selects = |selector: &Value| selector["matchLabels"]["app.kubernetes.io/name"] == *name;
        assert!(
            budgets
                .iter()
                .any(|budget| selects(&budget["spec"]["selector"])),
            "{name}"
        );
        assert!(
            policies
                .iter()
                .any(|policy| selects(&policy["spec"]["podSelector"])),
            "{name}"
        );
        let service = services
            .iter()
            .find(|service| service["spec"]["selector"]["app.kubernetes.io/name"] == *name)
            .expect("a Service");
        assert_eq!(service["spec"]["clusterIP"], "None", "headless");
        assert_eq!(service["spec"]["ports"][0]["port"], *port);
    }
}

/// What the manifests configure is what the services know: their own
/// configuration is loaded from the variables that a Deployment sets.
#[test]
fn every_variable_is_known_to_its_service() {
    for deployment in of_kind("Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut command = std::process::Command::new(crate::harness::fealty());
        let args = container["args"].as_array().expect("args");
        command
            .args(args.iter().map(|arg| arg.as_str().expect("text")))
            .arg("--check-config")
            .env_remove("FEALTY_TEST_BINARY")
            .env_remove("FEALTY_TEST_CLIENTS");
        for variable in container["env"].as_array().expect("variables") {
            // Secrets have some value.
            let value = variable["value"].as_str().unwrap_or("secret");
            command.env(variable["name"].as_str().expect("a name"), value);
        }
        let output = command.output().expect("the command runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{deployment}: {told}");
    }
}
