-- What the requests on behalf of each end user used and cost, by the day since 1970. An end user is a keyed hash of its name.

CREATE TABLE end_user_days (
    workspace BYTEA NOT NULL,
    end_user BYTEA NOT NULL,
    day BIGINT NOT NULL,
    replica BIGINT NOT NULL REFERENCES replicas (number),
    tally BYTEA NOT NULL,
    spend_nanos BIGINT NOT NULL,
    PRIMARY KEY (workspace, end_user, day, replica)
);
