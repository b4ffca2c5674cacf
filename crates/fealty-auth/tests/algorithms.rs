//! Tokens by each of the three algorithms, and what their claims come to.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fealty_auth::{Identity, Programs, Role, Settings, TokenFault, Tokens, keep_fresh};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};

const NOW_S: i64 = 1_900_000_000;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// One who signs: the key's name, its algorithm, its public form, and how.
struct Signer {
    kid: &'static str,
    algorithm: &'static str,
    jwk: Value,
    sign: Sign,
}

impl Signer {
    fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("the key");
        let x = base64(pair.public_key());
        Self {
            kid: "ed",
            algorithm: "EdDSA",
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x }),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    fn p256() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("the key");
        // One byte that says both coordinates follow.
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        Self {
            kid: "ec",
            algorithm: "ES256",
            jwk: json!({
                "kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256",
                "x": base64(x), "y": base64(y),
            }),
            sign: Box::new(move |message| {
                pair.sign(&random, message)
                    .expect("signed")
                    .as_ref()
                    .to_vec()
            }),
        }
    }

    /// A key for tests alone, of 2,048 bits.
    fn rsa() -> Self {
        let pair = RsaKeyPair::from_der(include_bytes!("rsa.der")).expect("the key");
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        Self {
            kid: "rsa",
            algorithm: "RS256",
            jwk: json!({
                "kty": "RSA", "kid": "rsa", "use": "sig",
                "n": base64(public.n), "e": base64(public.e),
            }),
            sign: Box::new(move |message| {
                let mut signature = vec![0; pair.public().modulus_len()];
                let random = SystemRandom::new();
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.expect("signed");
                signature
            }),
        }
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "kid": self.kid, "typ": "at+jwt" });
        let signed = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(claims.to_string())
        );
        let signature = base64((self.sign)(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

async fn tokens(keys: &[&Signer], settings: Settings) -> Arc<Tokens> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    std::fs::write(file.path(), json!({ "keys": keys }).to_string()).expect("written");
    let tokens = Tokens::new(Settings {
        issuer: "https://login.example.com".to_owned(),
        jwks_file: Some(file.path().to_owned()),
        ..settings
    });
    let tokens = Arc::new(tokens.expect("valid"));
    drop(keep_fresh(Arc::clone(&tokens)).await.expect("keys"));
    tokens
}

fn claims() -> Value {
    json!({
        "iss": "https://login.example.com", "aud": ["fealty", "other"], "sub": "till-7",
        "exp": 4_000_000_000_i64, "roles": "checkout", "programs": ["club"], "brands": ["shop"],
    })
}

fn verified(tokens: &Tokens, token: &str) -> Result<Arc<Identity>, TokenFault> {
    tokens.verify(token, NOW_S)
}

#[tokio::test]
async fn each_algorithm_is_taken_by_its_own_keys_alone() {
    let signers = [Signer::ed25519(), Signer::p256(), Signer::rsa()];
    let all: Vec<&Signer> = signers.iter().collect();
    let tokens = tokens(&all, Settings::default()).await;
    for signer in &signers {
        let token = signer.token(&claims());
        let identity = verified(&tokens, &token).unwrap_or_else(|fault| {
            panic!("{}: {fault}", signer.algorithm);
        });
        assert_eq!(identity.subject.as_str(), "till-7");
        // Remembered, and the same.
        assert!(Arc::ptr_eq(
            &identity,
            &verified(&tokens, &token).expect("again")
        ));
        // One bit of the signature, and it is nobody's.
        let mut forged = token.into_bytes();
        let last = forged.len() - 4;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("ASCII");
        assert_eq!(verified(&tokens, &forged), Err(TokenFault::Signature));
        // Another's key under this one's name.
        for other in signers.iter().filter(|other| other.kid != signer.kid) {
            let renamed = Signer {
                kid: other.kid,
                algorithm: signer.algorithm,
                jwk: Value::Null,
                sign: Box::new(|_| vec![0; 64]),
            };
            let fault = verified(&tokens, &renamed.token(&claims()));
            assert_eq!(fault, Err(TokenFault::Algorithm));
        }
    }
}

#[tokio::test]
async fn claims_are_read_by_the_names_that_are_configured() {
    let signer = Signer::ed25519();
    let settings = Settings {
        claims_roles: "realm_access.roles".to_owned(),
        claims_brands: "https://example.com/brands".to_owned(),
        roles: "pos=checkout, loyalty-admin=operator".to_owned(),
        default_programs: "club, other-club".to_owned(),
        ..Settings::default()
    };
    let tokens = tokens(&[&signer], settings).await;
    let mut said = claims();
    said["realm_access"] = json!({ "roles": ["offline_access", "pos"] });
    said["https://example.com/brands"] = json!("shop cafe");
    said.as_object_mut().expect("an object").remove("programs");
    let identity = verified(&tokens, &signer.token(&said)).expect("taken");
    assert!(identity.roles.has(Role::Checkout) && !identity.roles.has(Role::Operator));
    let Programs::Named(programs) = &identity.programs else {
        panic!("{identity:?}");
    };
    assert_eq!(programs.len(), 2);
    assert_eq!(identity.brands.as_ref().map(Vec::len), Some(2));
    // A tilde is no brand, and eight roles are none of ours.
    said["https://example.com/brands"] = json!(["~"]);
    assert!(matches!(
        verified(&tokens, &signer.token(&said)),
        Err(TokenFault::Claims(_))
    ));
    said["realm_access"] = json!({ "roles": ["offline_access"] });
    assert!(matches!(
        verified(&tokens, &signer.token(&said)),
        Err(TokenFault::Claims(_))
    ));
}

#[tokio::test]
async fn keys_that_are_for_something_else_are_not_used() {
    let mut encrypting = Signer::rsa();
    encrypting.jwk["use"] = json!("enc");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), json!({ "keys": [encrypting.jwk] }).to_string()).expect("written");
    let settings = Settings {
        issuer: "x".to_owned(),
        jwks_file: Some(file.path().to_owned()),
        ..Settings::default()
    };
    let tokens = Arc::new(Tokens::new(settings).expect("valid"));
    let refused = keep_fresh(tokens).await.err().expect("no key");
    assert!(refused.to_string().contains("jwks_file"), "{refused}");
}
