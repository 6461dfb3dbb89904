-- Tokens of enrolments are sealed by wardens for themselves: each is of one.
ALTER TABLE enrolments ADD COLUMN holder BLOB;
