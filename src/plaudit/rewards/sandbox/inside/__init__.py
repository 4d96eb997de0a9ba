"""What runs behind the walls: the examiner with the tests, and the process of the written code. Standard library only."""
