-- What the requests on behalf of each end user used and cost, by the day since 1970. An end user is a keyed hash of its name.

CREATE TABLE end_user_days (
    workspace BLOB NOT NULL,
    end_user BLOB NOT NULL,
    day INTEGER NOT NULL,
    replica INTEGER NOT NULL,
    tally BLOB NOT NULL,
    spend_nanos INTEGER NOT NULL,
    PRIMARY KEY (workspace, end_user, day, replica)
) STRICT, WITHOUT ROWID;
