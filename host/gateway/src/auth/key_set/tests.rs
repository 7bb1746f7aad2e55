use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use agent_host_core::{
    identity::Scope,
    key_set::Standing,
    ports::{BoxFuture, clock::Clock, keys::NoKeySet},
};
use agent_plugin_protocol::Code;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{auth::Verifier, revoked::RevokedTokens, settings::Auth};

/// What the issuer does when it is asked.
#[derive(Debug, Clone)]
enum Answer {
    Keys(Vec<Value>),
    Text(&'static str),
    Down,
    Hangs,
    Panics,
    After(Duration, Vec<Value>),
}

/// An issuer, and a gateway's view of it, under a paused clock.
struct Bench {
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicUsize>,
    set: Arc<KeySet>,
    verifier: Arc<Verifier>,
    revoked: Arc<RevokedTokens>,
    stop: CancellationToken,
}

struct Issuer(Arc<Mutex<Answer>>, Arc<AtomicUsize>);

struct Still;

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
}

impl KeySource for Issuer {
    fn fetch(&self) -> BoxFuture<'static, Result<Vec<u8>, NoKeySet>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.lock().unwrap().clone();
        let set = |keys: Vec<Value>| Ok(json!({ "keys": keys }).to_string().into_bytes());
        Box::pin(async move {
            match answer {
                Answer::Keys(keys) => set(keys),
                Answer::Text(text) => Ok(text.as_bytes().to_vec()),
                Answer::Down => Err(NoKeySet("down".to_owned())),
                Answer::Hangs => std::future::pending().await,
                Answer::Panics => panic!("a bug in the fetch"),
                Answer::After(pause, keys) => {
                    tokio::time::sleep(pause).await;
                    set(keys)
                }
            }
        })
    }
}

fn bench(answer: Answer) -> Bench {
    let (answer, fetches) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
    let policy = KeySetPolicy { stale: Duration::from_secs(3600), ..KeySetPolicy::default() };
    let source = Arc::new(Issuer(Arc::clone(&answer), Arc::clone(&fetches)));
    let set =
        Arc::new(KeySet::new(source, "https://issuer.example/keys".into(), Duration::from_secs(5), policy));
    let auth =
        Auth { hs256_secrets: vec![b"0123456789abcdef0123456789abcdef".to_vec().into()], ..Auth::default() };
    let revoked = Arc::new(RevokedTokens::default());
    let verifier = Verifier::new(&auth, Arc::new(Still)).with_key_set(Some(Arc::clone(&set)));
    let stop = CancellationToken::new();
    tokio::spawn(Arc::clone(&set).keep(Arc::clone(&revoked), stop.clone()));
    Bench { answer, fetches, set, verifier: Arc::new(verifier), revoked, stop }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    fn now_answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn standing(&self) -> Standing {
        self.set.now().standing
    }

    async fn judge(&self, token: &str) -> Result<Principal, Code> {
        self.verifier.judge(token).await.map_err(|error| error.code)
    }

    async fn code(&self, token: &str) -> Option<Code> {
        self.judge(token).await.err()
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth/keys").join(name)).unwrap()
}

/// A key of the tests as its issuer publishes it.
fn published(key: &str, kid: &str) -> Value {
    let mut jwk: Value = serde_json::from_slice(&file(&format!("{key}.jwk.json"))).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

fn token(key: &str, kid: Option<&str>) -> String {
    let pem = file(&format!("{key}.pem"));
    let (algorithm, key) = match key {
        "ec" => (Algorithm::ES256, EncodingKey::from_ec_pem(&pem).unwrap()),
        _ => (Algorithm::RS256, EncodingKey::from_rsa_pem(&pem).unwrap()),
    };
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &json!({ "sub": "u", "exp": 1_800_000_010u64 }), &key).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_the_first_fetch_and_is_then_judged_by_its_keys() {
    let bench =
        bench(Answer::After(Duration::from_millis(100), vec![published("rsa", "a"), published("ec", "b")]));
    for (key, kid, code) in [
        ("rsa", Some("a"), None),
        ("ec", Some("b"), None),
        ("ec", None, None),
        ("rsa", None, None),
        ("rsa", Some("b"), Some(Code::AuthInvalid)),
        ("rsa-other", Some("a"), Some(Code::AuthInvalid)),
        ("rsa-other", None, Some(Code::AuthInvalid)),
    ] {
        assert_eq!(bench.code(&token(key, kid)).await, code, "{key} {kid:?}");
    }
    assert!(bench.judge(&token("rsa", Some("a"))).await.unwrap().signed_by != SignedBy::Host);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_first_is_asked_until_it_is_up() {
    let bench = bench(Answer::Down);
    let good = token("rsa", Some("a"));
    assert_eq!(bench.code(&good).await, Some(Code::AuthKeysUnavailable));
    pass(10).await;
    assert!((3..=6).contains(&bench.fetches()), "{} fetches in 10 s", bench.fetches());
    bench.now_answers(Answer::Keys(vec![published("rsa", "a")]));
    pass(20).await;
    assert_eq!((bench.code(&good).await, bench.standing()), (None, Standing::Current));
}

#[tokio::test(start_paused = true)]
async fn made_up_names_cost_one_fetch_in_the_pace_however_many_they_are() {
    let bench = bench(Answer::Keys(vec![published("rsa", "a")]));
    pass(1).await;
    assert_eq!(bench.fetches(), 1);
    for n in 0..1000 {
        let made_up = token("ec", Some(&format!("made-up-{n}")));
        assert_eq!(bench.code(&made_up).await, Some(Code::AuthInvalid));
    }
    assert_eq!(bench.fetches(), 2);
    pass(29).await;
    assert_eq!(bench.fetches(), 2);
    pass(2).await;
    assert_eq!(bench.fetches(), 3, "what was refused meanwhile is looked for once");
    assert_eq!(bench.code(&token("rsa", Some("a"))).await, None);
}

#[tokio::test(start_paused = true)]
async fn tokens_with_a_new_key_share_one_fetch_and_are_let_in() {
    let bench = bench(Answer::Keys(vec![published("rsa", "a")]));
    pass(1).await;
    bench.now_answers(Answer::After(
        Duration::from_millis(200),
        vec![published("rsa", "a"), published("rsa-other", "b")],
    ));
    let token: Arc<str> = token("rsa-other", Some("b")).into();
    let judges: Vec<_> = (0..100)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&bench.verifier), Arc::clone(&token));
            tokio::spawn(async move { verifier.judge(&token).await })
        })
        .collect();
    for judge in judges {
        judge.await.unwrap().unwrap();
    }
    assert_eq!(bench.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_token_waits_longer_than_a_moment() {
    let bench = bench(Answer::Hangs);
    let asked = Instant::now();
    assert_eq!(bench.code(&token("rsa", Some("a"))).await, Some(Code::AuthKeysUnavailable));
    assert_eq!(asked.elapsed(), WAIT);
    // The fetch itself ends too, and the next one finds the issuer well.
    bench.now_answers(Answer::Keys(vec![published("rsa", "a")]));
    pass(10).await;
    assert_eq!(bench.code(&token("rsa", Some("a"))).await, None);
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_kept_while_they_cannot_be_fetched_and_expire() {
    let bench = bench(Answer::Keys(vec![published("rsa", "a")]));
    let good = token("rsa", Some("a"));
    for broken in [Answer::Down, Answer::Text("<html>"), Answer::Hangs, Answer::Panics] {
        pass(1).await;
        bench.now_answers(broken);
        pass(400).await;
        assert_eq!((bench.code(&good).await, bench.standing()), (None, Standing::Stale));
        let unknown = bench.code(&token("ec", Some("b"))).await;
        assert_eq!(unknown, Some(Code::AuthKeysUnavailable), "it may be one that could not be fetched");
    }
    pass(3600).await;
    assert_eq!(
        (bench.code(&good).await, bench.standing()),
        (Some(Code::AuthKeysUnavailable), Standing::Expired)
    );
    let principal = Principal { signed_by: SignedBy::Fetched(bench.set.now().keys[0].print), ..nobody() };
    assert!(!bench.set.has_withdrawn(&principal), "an issuer that is down has withdrawn nothing");
    bench.now_answers(Answer::Keys(vec![published("rsa", "a")]));
    pass(80).await;
    assert_eq!((bench.code(&good).await, bench.standing()), (None, Standing::Current));
}

fn nobody() -> Principal {
    Principal {
        scope: Scope { tenant: "t".into(), user: "u".into() },
        permissions: Default::default(),
        expires_at: UNIX_EPOCH,
        issued_at: None,
        token_id: None,
        signed_by: SignedBy::Host,
        issuer: None,
        audiences: [].into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_set_has_no_more_is_withdrawn_and_connections_are_woken() {
    let bench = bench(Answer::Keys(vec![published("rsa", "a"), published("ec", "b")]));
    pass(1).await;
    let old = bench.judge(&token("rsa", Some("a"))).await.unwrap();
    let kept = bench.judge(&token("ec", Some("b"))).await.unwrap();
    let woken = bench.revoked.next();
    // Under another name it is the same key.
    bench.now_answers(Answer::Keys(vec![published("rsa", "c"), published("ec", "b")]));
    pass(301).await;
    assert!(!bench.set.has_withdrawn(&old) && !woken.is_cancelled());
    bench.now_answers(Answer::Keys(vec![published("rsa-other", "a"), published("ec", "b")]));
    pass(301).await;
    assert!(bench.set.has_withdrawn(&old) && woken.is_cancelled());
    assert!(!bench.set.has_withdrawn(&kept) && !bench.set.has_withdrawn(&nobody()));
    assert_eq!(bench.code(&token("rsa", Some("a"))).await, Some(Code::AuthInvalid));
    assert_eq!(bench.verifier.check_standing(&old).unwrap_err().code, Code::AuthInvalid);
}

#[tokio::test(start_paused = true)]
async fn a_set_without_a_key_withdraws_all_and_is_the_hosts_trouble() {
    let bench = bench(Answer::Keys(vec![published("rsa", "a")]));
    pass(1).await;
    let old = bench.judge(&token("rsa", Some("a"))).await.unwrap();
    bench.now_answers(Answer::Keys(vec![json!({ "kty": "oct", "kid": "a", "k": "AAAA" })]));
    pass(301).await;
    assert_eq!(bench.standing(), Standing::Empty);
    assert!(bench.set.has_withdrawn(&old));
    assert_eq!(bench.code(&token("rsa", Some("a"))).await, Some(Code::AuthKeysUnavailable));
}

#[tokio::test(start_paused = true)]
async fn a_published_key_is_no_secret_and_a_secret_no_published_key() {
    let secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
    let oct = json!({ "kty": "oct", "kid": "o", "alg": "HS256", "k": secret });
    let bench = bench(Answer::Keys(vec![published("rsa", "a"), oct]));
    pass(1).await;
    let claims = json!({ "sub": "u", "exp": 1_800_000_010u64 });
    let hs256 = |secret: &[u8], kid: &str| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let modulus = published("rsa", "a")["n"].as_str().unwrap().to_owned();
    for secret in [file("rsa.pub.pem"), modulus.into_bytes(), b"another secret than the host's own".to_vec()]
    {
        for kid in ["a", "o"] {
            assert_eq!(bench.code(&hs256(&secret, kid)).await, Some(Code::AuthInvalid));
        }
    }
    // The host's own goes on beside the set, and asks nothing of it.
    assert_eq!(bench.code(&hs256(b"0123456789abcdef0123456789abcdef", "a")).await, None);
    assert_eq!(bench.fetches(), 1);
}
