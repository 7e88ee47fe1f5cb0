int adam;
