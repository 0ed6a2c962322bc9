"""The sentinel in front of every exit: finds secrets in linear time, redacts them, and refuses what is critical."""
