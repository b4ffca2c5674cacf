//! Pool, named retried transactions, SQLSTATE classes, migrations, feeds
