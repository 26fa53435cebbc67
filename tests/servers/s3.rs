//! A real S3 server in the tests' own process: `s3s-fs`, which keeps buckets as directories. Unit
//! tests and integration tests include this file by its path.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::S3Access;
use s3s::auth::SimpleAuth;
use s3s::dto::AbortMultipartUploadInput;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Request, S3Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The name of the key that the server takes.
pub const ACCESS_KEY: &str = "AKIDTESTS";

/// The key that the server takes.
pub const SECRET_KEY: &str = "s3cret-of-the-tests";

/// The bucket that is there from the start.
pub const BUCKET: &str = "acme";

/// Says of an upload that is not there what S3 says; the server itself calls it forbidden.
struct KnownUploads(PathBuf);

#[async_trait::async_trait]
impl S3Access for KnownUploads {
    async fn abort_multipart_upload(
        &self,
        request: &mut S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<()> {
        let id = &request.input.upload_id;
        match self.0.join(format!(".upload-{id}.json")).exists() {
            true => Ok(()),
            false => Err(s3s::s3_error!(NoSuchUpload)),
        }
    }
}

/// A server that runs until it is dropped.
pub struct S3Server {
    directory: tempfile::TempDir,
    address: SocketAddr,
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
}

// Not every test looks at all of it.
#[allow(dead_code)]
impl S3Server {
    /// Starts a server on a free port of this machine.
    pub fn start() -> S3Server {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(BUCKET)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(directory.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        builder.set_access(KnownUploads(directory.path().to_owned()));
        let service = builder.build();
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // As every real server does: else each body waits for an acknowledgement.
                let _ = socket.set_nodelay(true);
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        S3Server {
            directory,
            address,
            runtime: Some(runtime),
        }
    }

    /// The URL that clients are given.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The directory of the bucket.
    pub fn bucket_path(&self) -> PathBuf {
        self.directory.path().join(BUCKET)
    }

    /// What the server keeps of uploads that are not finished.
    pub fn unfinished(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("upload")).collect()
    }

    /// The parts that are left of them: an upload without any takes no room. The server forgets
    /// an upload that it fails to complete, and leaves its parts; these don't count.
    pub fn unfinished_parts(&self) -> Vec<String> {
        let uploads = self.unfinished();
        let is_known = |name: &&String| {
            let rest = name.strip_prefix(".upload_id-");
            let id = rest.and_then(|rest| rest.split_once(".part-"));
            id.is_some_and(|(id, _)| uploads.contains(&format!(".upload-{id}.json")))
        };
        uploads.iter().filter(is_known).cloned().collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
