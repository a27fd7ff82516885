-- Looks at every page of a table that has one row on each.
select count(*) from wide;
