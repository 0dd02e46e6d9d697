//! skeleton
mod error;
mod ids;
pub mod vfs;
pub use error::{Error, ErrorKind, MarketplaceError, Result};
pub use ids::{Lsn, StoreId};
